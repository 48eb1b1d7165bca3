about a server that loses both ways has none, the others are unharmed, and it is back when one way is
topology fig7
always host 10.10.10.1 moves at most 0
always flow G->C1 loses nothing
at 0s link C2-A2 down
by 1s host 10.10.10.2 behind B
at 2s link C2-B2 down
by 6s host 10.10.10.2 nowhere
at 7s link C2-A2 up
by 9s flow G->C2 works
by 9s host 10.10.10.2 behind A
end 10s
