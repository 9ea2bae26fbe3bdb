#!/usr/bin/env bats
# The life of a VM on either engine ($VM_ENGINE), with a guest of one page
# (tests/guest/tiny.S) that any /dev/kvm can run, and QEMU.
# shellcheck disable=SC2034,SC2154	# bats sets and reads some

bats_require_minimum_version 1.5.0
load lib

setup() {
	scratch
	tiny=$VM_BIN/tests/guest/tiny
}

teardown() {
	[[ ! -d ${VM_STATE:-} ]] || vm-ls -q 2>/dev/null | vm-rm --force - >/dev/null 2>&1 || :
}

make() { vm-create "$@" -m 16M --kernel "$tiny"; }
value() { vm-ls -H -p -o "$2" "$1"; }

@test "boot returns when the VM runs; ls knows it; the button stops it" {
	make t1
	run -0 vm-boot t1
	[ "$output" = t1 ]
	[ "$(value t1 state)" = running ]
	[ "$(value t1 pid)" -gt 1 ]
	run -0 vm-wait t1 --for login -t 20
	run -0 vm-stop t1 -t 20
	[ "$output" = t1 ]
	[ "$(value t1 state)" = stopped ]
	vm-console --log t1 | grep -q 'tiny: button'
}

@test "a pipe of all steps acts on what came through the one before" {
	make a b c | vm-boot | vm-wait --for login -t 20 | sort >names
	[ "$(tr '\n' ' ' <names)" = "a b c " ]
	run -0 vm-ls -q -f state=running
	[ "$output" = "a"$'\n'"b"$'\n'"c" ]
	run -0 vm-stop a b c
}

@test "booting what runs is already so; -f, --paused and --rm of it are busy" {
	make t1 | vm-boot
	pid=$(value t1 pid)
	run -0 vm-boot t1
	[ "$output" = t1 ]
	[ "$(value t1 pid)" = "$pid" ]
	run -11 vm-boot --paused t1
	run -11 vm-boot -f t1
}

@test "every door of reset re-enters a clean machine, the console's replay begins anew" {
	make t1 | vm-boot
	n=1
	for key in r k f t v; do
		vm-wait t1 --for login -t 20
		printf %s "$key" | vm-console t1 >/dev/null
		n=$((n + 1))
		for _ in {1..100}; do
			[ "$(value t1 boots)" = $n ] && break
			sleep 0.05
		done
		[ "$(value t1 boots)" = $n ]
		vm-wait t1 --for login -t 20
		[ "$(vm-console --log t1 | grep -c 'tiny: up')" = 1 ]
	done
	run -0 vm-reset --hard t1
	[ "$(value t1 boots)" = 7 ]
	run -0 vm-reset --soft -t 20 t1
	[ "$(value t1 boots)" = 8 ]
}

@test "a wild jump resets the VM or stops it for inspection; a reset brings it back" {
	make t1 | vm-boot | vm-wait --for login -t 20
	printf j | vm-console t1 >/dev/null
	# QEMU's CPU reads instructions where nothing is, and goes on (vm.7)
	[[ $VM_ENGINE = qemu ]] || for _ in {1..100}; do
		state=$(value t1 state)
		[[ $state == crashed || $(value t1 boots) -gt 1 ]] && break
		sleep 0.05
	done
	[[ $VM_ENGINE = qemu || $state == crashed || $(value t1 boots) -gt 1 ]]
	run -0 vm-reset --hard t1
	run -0 vm-wait t1 --for login -t 20
	[ "$(value t1 state)" = running ]
}

@test "pause stops the guest, resume goes on, both are idempotent" {
	make t1 | vm-boot | vm-wait --for login -t 20
	printf c | vm-console t1 >/dev/null
	run -0 vm-pause t1
	run -0 vm-pause t1
	[ "$(value t1 state)" = paused ]
	sleep 0.2
	before=$(vm-console --log t1 | wc -c)
	sleep 0.3
	[ "$(vm-console --log t1 | wc -c)" = "$before" ]
	run -0 vm-resume t1
	run -0 vm-resume t1
	sleep 0.3
	[ "$(vm-console --log t1 | wc -c)" -gt "$before" ]
}

@test "--paused stands before the first instruction" {
	make t1
	run -0 vm-boot --paused t1
	[ "$(value t1 state)" = paused ]
	[ -z "$(vm-console --log t1)" ]
	vm-resume t1
	run -0 vm-wait t1 --for login -t 20
}

@test "kill -9: stopped at once, the others never notice, it boots again" {
	make a b c | vm-boot | vm-wait --for login -t 20
	pid_a=$(value a pid) pid_c=$(value c pid)
	kill -9 "$(value b pid)"
	run -0 vm-wait b --for stopped -t 5
	[ "$(value b state)" = stopped ]
	[ "$(value a pid) $(value c pid)" = "$pid_a $pid_c" ]
	run -0 vm-boot b
	run -0 vm-wait b --for login -t 20
}

@test "in the foreground the console is here and the guest's end ends it" {
	make t1
	run -0 --separate-stderr vm-boot -f t1 < <(sleep 0.5; printf xyz; sleep 0.2; printf q)
	[[ $output == *"tiny: up"*"login: xyz"* ]]
	[ "$(value t1 state)" = stopped ]
}

@test "--rm removes the VM when it ends, foreground and not" {
	make t1 t2
	printf q | vm-boot -f --rm t1
	run -10 vm-ls t1
	vm-boot --rm t2 | vm-wait --for login -t 20
	vm-stop --now t2
	for _ in {1..40}; do [[ -d $VM_STATE/vms/t2 ]] || break; sleep 0.05; done
	run -10 vm-ls t2
}

@test "a guest that is deaf to the button is stopped only by force" {
	make t1 | vm-boot | vm-wait --for login -t 20
	printf s | vm-console t1 >/dev/null
	printf h | vm-console t1 >/dev/null
	run -124 vm-stop -t 1 t1
	[ "$(value t1 state)" != stopped ]
	run -0 vm-stop -t 1 --force t1
	[ "$(value t1 state)" = stopped ]
	run -0 vm-stop t1
}

@test "a disk is one VM's at a time" {
	truncate -s 1M d.img
	make t1 t2 --disk "$PWD/d.img"
	vm-boot t1
	run -11 --separate-stderr vm-boot t2
	[[ $stderr == *"d.img"* ]]
	vm-stop --now t1
	run -0 vm-boot t2
	make r1 r2 --disk "$PWD/e.img,ro" 2>/dev/null || { truncate -s 1M e.img; make r1 r2 --disk "$PWD/e.img,ro"; }
	run -0 vm-boot r1 r2
}

@test "what cannot be booted says why, and nothing is left running" {
	make t1
	cp "$tiny" k; vm-set t1 kernel="$PWD/k"
	printf 'just a text\n' >k
	run -6 --separate-stderr vm-boot t1
	[[ $stderr == "vm-boot: t1: "*"k: "* ]]
	head -c 200 "$tiny" >k
	run -6 vm-boot t1
	rm k
	run -6 vm-boot --rm t1
	[[ $output == *"no such file"* ]]
	[ "$(value t1 state)" = stopped ]
	run -10 vm-boot nobody
}

@test "no /dev/kvm is 5, one without permission 4, each with what to do" {
	make t1
	export VM_ENGINE=kvm-any
	unshare -m true 2>/dev/null || skip "no mount namespaces here to hide /dev/kvm in"
	run -5 unshare -m sh -c 'mount -t tmpfs none /dev && vm-boot t1'
	[[ $output == *"/dev/kvm"* ]]
	chmod -R a+rwX "$VM_STATE" "$BATS_TEST_TMPDIR"; chmod a+rx "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" || :
	run -4 unshare -m sh -c 'mkdir d && cp -a /dev/null d && mknod -m 600 d/kvm c 10 232 &&
		mount --bind d /dev && setpriv --reuid 65534 --clear-groups vm-boot t1'
	[[ $output == *"/dev/kvm"* ]]
}

@test "the hypervisor is in vm-boot alone" {
	for cmd in vm-ls vm-stop vm-wait vm-console; do
		run -1 grep -c vcpus_start "$VM_BIN/$cmd"
	done
	grep -q vcpus_start "$VM_BIN/vm-boot"
}
