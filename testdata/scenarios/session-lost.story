about a routing session breaks and the path still works: nothing closes, nobody moves, nothing is lost
topology fig7
always host 10.10.10.1 moves at most 0
always flow G->C1 loses nothing
always flow C1->G loses nothing
at 0s session A G reset
by 100ms port A1 open
end 3s
