#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Disks as a Linux guest uses them: queues, discard, growth and limits while
# it runs, and a host that is full. One VM, the tests in this order.

load lib

setup_file() {
	guest_setup_file
	((EUID == 0)) || skip "the full file system is a mount: not root"
	export SMALL=$BATS_FILE_TMPDIR/small
	mkdir "$SMALL"
	mount -t tmpfs -o size=14M small "$SMALL"
	truncate -s 64M "$SMALL/a.img"
	qemu-img create -q -f qcow2 "$SMALL/b.qcow2" 64M
	vm-create k -c 2 -m 256M --kernel "$G/vmlinux-cloud" --initrd "$G/initrd-cloud.img" \
		--append quiet --disk "$SMALL/a.img" --disk "$SMALL/b.qcow2,format=qcow2" \
		--disk 64M,cache=writethrough,block_size=4096
	vm-boot k
	see k 'guest# ' 240
}

teardown_file() {
	guest_teardown_file
	umount "$SMALL"
}

# says LINE WANTED [SECONDS] : types LINE; the guest says WANTED
says() {
	tell k "$1"
	see k "$2" "${3:-60}"
}

# becomes COLUMN VALUE : of the VM, soon
becomes() {
	for _ in {1..600}; do
		[[ $(col k "$1") = "$2" ]] && return 0
		sleep 0.1
	done
	col k name,state,reason
	return 1
}

used() { echo $(($(stat -c %b "$1") * 512)); }

@test "a queue for each vCPU; block sizes, caches and serial numbers as configured" {
	says 'echo "queues $(ls /sys/block/vda/mq | wc -l)"' 'queues 2'
	says 'cd /sys/block; echo "blocks $(cat vda/queue/logical_block_size vdc/queue/logical_block_size | xargs)"' \
		'blocks 512 4096'
	says 'echo "caches $(cat vda/queue/write_cache vdc/queue/write_cache | xargs)"' \
		'caches write back write through'
	says 'echo "write through" >vda/queue/write_cache; echo "now $(cat vda/queue/write_cache)"' \
		'now write through'
	says 'echo "write back" >vda/queue/write_cache; echo "again $(cat vda/queue/write_cache)"' \
		'again write back'
	says 'yes kept | dd of=/dev/vdc bs=64k count=16 iflag=fullblock oflag=direct; sha256sum /dev/vdc' \
		"$( (yes kept | head -c 1M; head -c 63M /dev/zero) | sha256sum | cut -d ' ' -f 1)"
}

@test "what the guest discards goes back to the host" {
	says 'yes data | dd of=/dev/vda bs=1M count=4 iflag=fullblock oflag=direct && echo "wrote $((40 + 1))"' 'wrote 41'
	says 'yes data | dd of=/dev/vdb bs=1M count=4 iflag=fullblock oflag=direct && sync && echo "wrote $((40 + 2))"' 'wrote 42'
	(($(used "$SMALL/a.img") >= 4 << 20 && $(used "$SMALL/b.qcow2") >= 4 << 20))
	# of a qcow2 disk it goes with the next flush, which a sync of nothing is not
	says 'blkdiscard /dev/vda && blkdiscard /dev/vdb && dd if=/dev/zero of=/dev/vdb count=1 conv=fsync && echo "gone $((40 + 2))"' \
		'gone 42'
	(($(used "$SMALL/a.img") < 1 << 20 && $(used "$SMALL/b.qcow2") < 2 << 20))
	says 'sha256sum /dev/vda /dev/vdb | cut -c 1-64 | uniq -c' \
		"2 $(head -c 64M /dev/zero | sha256sum | cut -d ' ' -f 1)"
}

@test "a disk grows under the running guest, and only grows" {
	run -0 --separate-stderr vm-set k disk0.size=80M disk1.size=96M
	[ -z "$stderr" ]
	says 'sleep 1; echo "sectors $(cat vda/size vdb/size | xargs)"' 'sectors 163840 196608'
	run -6 vm-set k disk0.size=64M
	says 'echo end | dd of=/dev/vdb bs=512 seek=196607 && sync && echo "last $((40 + 2))"' 'last 42'
	run -0 vm-reset --hard k
	see k 'guest# ' 240
	says 'cd /sys/block; echo "still $(cat vda/size vdb/size | xargs)"' 'still 163840 196608'
}

@test "limits hold at once, and end at once" {
	run -0 --separate-stderr vm-set k disk0.iops=20/1
	[ -z "$stderr" ]
	says 'a=$(cut -d. -f1 /proc/uptime); dd if=/dev/vda of=/dev/null bs=4k count=80 iflag=direct; echo "took $(($(cut -d. -f1 /proc/uptime) - a > 2))"' \
		'took 1'
	run -0 --separate-stderr vm-set k disk0.iops=
	[ -z "$stderr" ]
	says 'dd if=/dev/vda of=/dev/null bs=4k count=400 iflag=direct && echo "free $((40 + 2))"' 'free 42' 15
	run -0 --separate-stderr vm-set k disk0.serial=x
	[[ $stderr == "vm-set: k: disk0: from the next boot" ]]
}

# full DEVICE : writes more than the host has room for, until there is more
full() {
	mount -o remount,size=14M "$SMALL"
	tell k "yes $1 | head -c 1048576 >/p; for i in \$(seq 20); do cat /p; done | dd of=/dev/$1 bs=1M iflag=fullblock oflag=direct && sync && echo \"$1 \$((40 + 2))\""
	becomes state paused
	[[ $(col k reason) == *"No space left on device"* ]]
	[[ $(vm-ls k) == *REASON*"No space left on device"* ]]
	run -0 vm-resume k		# nothing has changed: it stands again
	becomes state paused
	mount -o remount,size=100M "$SMALL"
	run -0 vm-resume k
	see k "$1 42" 120
	[ "$(col k state)" = running ]
	[ "$(col k reason)" = - ]
	says "dd if=/dev/$1 bs=1M count=20 | sha256sum" \
		"$(for _ in {1..20}; do yes "$1" | head -c 1M; done | sha256sum | cut -d ' ' -f 1)" 120
}

@test "a full host pauses the VM, vm-ls says why, vm-resume loses nothing: raw" {
	full vda
}

@test "the same of a qcow2 disk, which is whole afterwards" {
	says 'blkdiscard /dev/vda; sync; echo "room $((40 + 2))"' 'room 42'
	full vdb
	run -0 vm-stop -t 200 k
	run -0 qemu-img check "$SMALL/b.qcow2"
}
