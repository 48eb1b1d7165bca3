about a leaf is drained and taken back: everybody leaves it, its ports close, and nobody loses anything
topology fig7
always flow G->C1 loses nothing
always flow C1->G loses nothing
always flow G->C3 loses nothing
always host 10.10.10.1 moves at most 2
always host 10.10.10.3 moves at most 0
at 0s leaf A drain
by 8s host 10.10.10.1 behind B
by 8s port A1 closed
by 8s port A4 closed
at 12s leaf A undrain
by 16s port A1 open
by 24s host 10.10.10.1 behind A
by 24s flow G->C1 works
end 25s
