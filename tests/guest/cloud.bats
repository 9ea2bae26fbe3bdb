#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# From mmdebstrap's tar to a login prompt, by an ordinary user: a Debian whose
# cloud-init does at its first boot what the seed of vm-create says.
# shellcheck disable=SC2016	# those in quotes are the guest's

load lib

setup_file() {
	export DIR=$BATS_FILE_TMPDIR VM_BIN=${VM_BIN:-$BATS_TEST_DIRNAME/../../build}
	mkdir "$DIR/bin" "$DIR/home"
	cp "$VM_BIN"/vm-* "$DIR/bin"	# the build may be nobody else's to read
	if ((EUID == 0)); then
		chown 65534:65534 "$DIR/home"
		chmod 755 "$BATS_RUN_TMPDIR" "$DIR"
	fi
}

teardown_file() { user 'vm-ls -q | vm-rm --force - >/dev/null'; }

setup() { cd "$DIR/home" || return 1; }

teardown() {
	[[ ! ${BATS_ERROR_STATUS:-} || $BATS_ERROR_STATUS = 0 ]] && return
	user 'vm-console --log web | tail -n 30' | tr -d '\r'
}

# user COMMAND : of the shell, as somebody who may do nothing
user() {
	local as=
	((EUID != 0)) || as="setpriv --reuid=65534 --regid=65534 --clear-groups"
	# shellcheck disable=SC2086	# words
	$as env -u VM_STATE -u XDG_RUNTIME_DIR HOME="$DIR/home" PATH="$DIR/bin:$PATH" \
		bash -c "set -o pipefail; $1"
}

@test "the tar of an ordinary user's Debian becomes a VM with the name of its seed" {
	key=AAAAC3NzaC1lZDI1NTE5AAAAIJhP0xXkQ4cYQGdNSJ0qZJ6ZtX1cZf0mJH3u2Zk0x9aB
	echo "ssh-ed25519 $key me@here" >key.pub
	cat >user-data <<-'END'
		#cloud-config
		write_files:
		- path: /etc/told
		  content: by user-data
		runcmd:
		- echo "told $(cat /etc/told)" >/dev/console
		- echo "name $(uname -n)" >/dev/console
		- echo "key $(cat ~debian/.ssh/authorized_keys)" >/dev/console
		- echo "user $(stat -c %U ~debian/.ssh/authorized_keys)" >/dev/console
	END
	run -0 user 'vm-image import - --name cloud' <"$G/debian-cloud.tar"
	[ "$output" = cloud ]
	run -0 user 'vm-create web -c 2 -m 512M --image cloud --user-data user-data \
			--ssh-key key.pub --hostname seeded |
		vm-boot | vm-wait --for login -t 600'
	[ "$output" = web ]
	user 'vm-console --log web' | grep -q '^seeded login: '
}

@test "cloud-init wrote the file, gave the key to the image's user and ran the commands" {
	run -0 user 'vm-wait web --for "console:^user debian" -t 600'
	user 'vm-console --log web' | tr -d '\r' >log
	grep -x 'told by user-data' log
	grep -x 'name seeded' log
	grep -xE 'key .*ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhP0xXkQ4cYQGdNSJ0qZJ6ZtX1cZf0mJH3u2Zk0x9aB me@here' log
}

@test "the image has nothing of it" {
	run -0 user 'vm-image export cloud --output disk && debugfs -R "stat /etc/told" disk 2>&1'
	[[ $output == *"File not found"* ]]
}
