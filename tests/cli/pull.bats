#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Pulls from a real server, nginx, that break half way. It sends the first MiB
# of a file and then little, but all of what is asked for by Range; its log
# tells what was sent.
# shellcheck disable=SC2154	# bats sets $stderr

bats_require_minimum_version 1.5.0
load lib

setup() {
	scratch
	PATH=$PATH:/usr/sbin
	command -v nginx >/dev/null || skip "no nginx"
	export no_proxy=127.0.0.1
	images=$VM_STATE/images
	mkdir www
	seq 1 500000 >d.raw
	truncate -s 4M d.raw
	put d.raw 510 '\125\252'
	qemu-img convert -O qcow2 d.raw www/x.qcow2
	touch -d '1 hour ago' www/x.qcow2
	size=$(stat -c %s www/x.qcow2)
	(cd www && sha256sum x.qcow2 >SHA256SUMS)
	serve
}

teardown() {
	[[ -z ${PULL:-} ]] || kill -9 "$PULL" 2>/dev/null || :
	stop
}

# start : nginx in the background, on $port; it ends with the test
start() {
	cat >nginx.conf <<-END
		daemon off;
		master_process off;
		pid nginx.pid;
		error_log error.log;
		events {}
		http {
			log_format sent '\$status \$body_bytes_sent \$uri \$http_range';
			access_log access.log sent;
			sendfile on;
			client_body_temp_path t1;
			proxy_temp_path t2;
			fastcgi_temp_path t3;
			uwsgi_temp_path t4;
			scgi_temp_path t5;
			map \$http_range \$rate { "" 8k; default 0; }
			limit_rate_after ${1:-1m};
			limit_rate \$rate;
			server {
				listen 127.0.0.1:$port;
				root www;
			}
		}
	END
	(exec setpriv --pdeathsig KILL nginx -p "$PWD" -e error.log -c nginx.conf 3>&-) &
	NGINX=$!
	disown
}

# answers : whether it does
answers() {
	local i
	for ((i = 0; i < 50; i++)); do
		kill -0 "$NGINX" 2>/dev/null || return 1
		(: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return 0
		sleep 0.05
	done
	return 1
}

serve() {
	for port in {21117..21217}; do
		start
		answers && break
	done
	URL=http://127.0.0.1:$port/x.qcow2
}

# stop : as when its host loses power
stop() {
	[[ -z ${NGINX:-} ]] || kill -9 "$NGINX" 2>/dev/null || :
	NGINX=
}

# pull : in the background, until it hangs half way
pull() {
	vm-image pull "$URL" >out 2>err 3>&- &
	PULL=$!
	disown
	half_way
}

half_way() {
	local i
	for ((i = 0; i < 100; i++)); do
		have=$(stat -c %s "$images/.x.part" 2>/dev/null) || have=0
		((have >= 1000000)) && return 0
		sleep 0.05
	done
	return 1
}

# interrupt : the pull; what came stays, and is no image
interrupt() {
	kill -9 "$PULL"
	while kill -0 "$PULL" 2>/dev/null; do sleep 0.05; done
	PULL=
	[ "$(vm-image ls -q)" = "" ]
	[ "$(ls -A "$images")" = "$(in_lines .x.note .x.part)" ]
	have=$(stat -c %s "$images/.x.part")
	cmp -n "$have" "$images/.x.part" www/x.qcow2
}

# ends : the pull does, by itself
ends() {
	local i
	for ((i = 0; i < 300; i++)); do
		kill -0 "$PULL" 2>/dev/null || break
		sleep 0.05
	done
	((i < 300))
	PULL=
	[ "$(<out)" = x ]
	[ "$(<err)" = "" ]
}

# rest_came : once, and nothing else than what was not there
rest_came() {
	local sent range
	read -r _ sent _ range < <(grep ^206 access.log)
	range=${range//[^0-9]/}
	((range >= have && sent == size - range))
	[ "$(grep -c ' /x.qcow2 bytes=' access.log)" = 1 ]
}

# whole : the image x is what is served, and nothing else is there
whole() {
	cmp "$images/x/disk" www/x.qcow2
	[ "$(ls -A "$images")" = x ]
	vm-image export x | cmp - d.raw
}

@test "a pull that was interrupted goes on: the server sends the rest, and it is checked" {
	pull
	interrupt
	run -0 --separate-stderr vm-image pull "$URL"
	[ "$output" = x ]
	[ "$stderr" = "" ]
	rest_came
	whole
	[ "$(vm-image ls -H -o digest x)" = "sha256:$(sha256sum <www/x.qcow2 | cut -d ' ' -f 1)" ]
}

@test "a server that dies on the way and comes back is waited for" {
	pull
	stop
	start
	answers
	ends
	rest_came
	whole
}

@test "an answer shorter than it promised is gone on with" {
	pull
	cp -p www/x.qcow2 all
	truncate -s 900000 www/x.qcow2
	for ((i = 0; i < 100; i++)); do
		grep -q truncated error.log && break
		sleep 0.05
	done
	cp -p all www/x.qcow2
	ends
	grep -q ^206 access.log
	whole
}

@test "what another file on the server replaced comes anew" {
	pull
	interrupt
	seq 500000 1000000 >d.raw
	truncate -s 4M d.raw
	qemu-img convert -O qcow2 d.raw www/x.qcow2
	(cd www && sha512sum ./x.qcow2 >SHA512SUMS)
	stop
	start 1000m	# no file is so long
	answers
	run -0 vm-image pull "$URL"
	[ "$(grep x.qcow2 access.log | tail -n 1)" = "200 $(stat -c %s www/x.qcow2) /x.qcow2 bytes=$have-" ]
	whole
	[ "$(vm-image ls -H -o digest x)" = "sha512:$(sha512sum <www/x.qcow2 | cut -d ' ' -f 1)" ]
}

@test "a wrong sum is 13 and leaves nothing, also after going on" {
	pull
	interrupt
	put "$images/.x.part" 500000 'damage'
	run -13 vm-image pull "$URL"
	[[ $output == "vm-image: x: "*"its sum is sha256:"*", not sha256:$(head -c 16 www/SHA256SUMS)..." ]]
	grep -q ^206 access.log
	[ "$(ls -A "$images")" = "" ]
	echo "$(printf %0128d 0)  x.qcow2" >www/SHA512SUMS
	mv www/x.qcow2 www/y.qcow2
	head -c 1000000 www/y.qcow2 >www/x.qcow2
	run -13 vm-image pull "$URL"
	[[ $output == *"not sha512:000"* ]]
	[ "$(ls -A "$images")" = "" ]
}

@test "what one command pulls another one does not" {
	pull
	run -11 vm-image pull "$URL"
	[ "$output" = "vm-image: x: is being pulled by another command" ]
	interrupt
	run -0 vm-image pull "$URL"
	whole
}
