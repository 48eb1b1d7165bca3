about the link of a server to its primary leaf fails and returns; only this server moves, once each way
topology fig7
always host 10.10.10.1 moves at most 0
always host 10.10.10.2 moves at most 2
always flow G->C1 loses nothing
at 0s link C2-A2 down
by 1s flow G->C2 works
by 1s flow C2->G works
by 1s flow C1->C2 works
by 1s host 10.10.10.2 behind B
at 3s link C2-A2 up
by 9s host 10.10.10.2 behind A
by 9s flow G->C2 works
end 10s
