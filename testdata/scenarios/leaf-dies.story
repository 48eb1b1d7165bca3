about a leaf dies and boots again: its servers move to the other leaf, and come back
topology fig7
always host 10.10.10.3 moves at most 0
at 0s node A down
by 1s flow G->C1 works
by 1s host 10.10.10.1 behind B
at 5s node A up
by 20s host 10.10.10.1 behind A
by 20s flow G->C1 works
end 21s
