about every daemon is killed and started again; the kernels go on forwarding
topology fig7
always host 10.10.10.1 moves at most 0
always host 10.10.10.3 moves at most 0
always flow G->C1 loses nothing
always flow C1->G loses nothing
always flow C1->C3 loses nothing
at 0s daemon A kill
at 1s daemon A start
at 4s daemon G kill
at 5s daemon G start
at 8s daemon C1 kill
at 9s daemon C1 start
by 12s port A1 open
end 13s
