about a leaf forwards nothing while its links stay up: who asks what is beyond it leaves it, and returns when it forwards
topology fig7
always flow G->C3 loses nothing
always host 10.10.10.3 moves at most 0
at 0s leaf A mute
by 3s host 10.10.10.1 behind B
by 3s host 10.10.10.2 behind B
by 3s flow G->C1 works
by 3s flow C1->G works
at 4s leaf A forward
by 30s host 10.10.10.1 behind A
by 30s flow G->C1 works
end 31s
