about a port that the operator closed stays closed, through linkage and through a crash
topology fig7
at 0s port A1 down
by 1s host 10.10.10.1 behind B
at 1s daemon A kill
at 2s daemon A start
at 3s link G-A0 down
by 4s port A2 closed
at 5s link G-A0 up
by 12s port A2 open
by 12s port A1 closed
at 13s port A1 up
by 20s host 10.10.10.1 behind A
end 21s
