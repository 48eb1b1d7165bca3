#!/bin/busybox sh
# The first program of the machine. It makes the root of the host visible, read-only, runs /job/run in it, and switches off.
b=/bin/busybox
$b mount -t proc none /proc
$b mount -t sysfs none /sys
$b mount -t devtmpfs none /dev
for m in $($b cat /modules.order); do
	$b insmod /modules/$m.ko $($b cat /modules/$m.options) || echo "vm: module $m does not load"
done
opts=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o ro,cache=loose,$opts root /root || echo "vm: no root"
$b mount -t proc none /root/proc
$b mount -t sysfs none /root/sys
$b mount -t devtmpfs none /root/dev
$b mount -t tmpfs none /root/run
$b mount -t tmpfs none /root/tmp
$b mkdir /root/run/job
$b mount -t 9p -o rw,cache=none,$opts work /root/run/job || echo "vm: no work directory"
$b ip link set lo up
read -r nonce </nonce
echo "vm-begin $nonce $($b uname -r)"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp CI=true PEERLESS_VM=1 \
	$b chroot /root /bin/sh /run/job/run
echo "vm-end $nonce $?"
$b sync
$b poweroff -f
