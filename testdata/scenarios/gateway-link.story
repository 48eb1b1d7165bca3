about a leaf loses its gateway, shuts its servers out, and takes them back when it can forward again
topology fig7
always host 10.10.10.3 moves at most 0
always host 10.10.10.1 moves at most 2
at 0s link G-A0 down
by 1s port A1 closed
by 1s port A4 closed
by 1s host 10.10.10.1 behind B
by 1s host 10.10.10.2 behind B
by 1s flow C1->C3 works
at 3s link G-A0 up
by 10s port A1 open
by 10s port A4 open
by 16s host 10.10.10.1 behind A
by 16s flow G->C1 works
end 17s
