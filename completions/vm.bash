# bash completion for vmutils; made by make completions from the options of the commands
# shellcheck shell=bash

_vm_commands='boot clone console create image ls pause prune recv reset resume rm rollback send set snap stop wait'
_vm_keys='cpus=N memory=SIZE machine=pv engine=auto|kvm|qemu|kvm-any kernel=FILE initrd=FILE append=TEXT console=serial|virtio console_log=SIZE disk0=FILE note=TEXT parent=SNAP restore=SNAP'

# What is known of command $1, into the caller's variables. options: NAME:KIND
# with KIND flag, or how its value is completed.
_vm_table() {
	case $1 in
	vm-boot)
		options='-f:flag --foreground:flag --rm:flag --paused:flag --engine:words=auto|kvm|qemu|kvm-any -P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-clone)
		options='--disk-only:flag --if-missing:flag -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-console)
		options='--log:flag --live:flag -r:flag --read-only:flag -t:none --linger:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-create)
		options='-c:none --cpus:none -m:none --memory:none --image:none --kernel:file --initrd:file --append:none --disk:file --user-data:file --ssh-key:file --hostname:none --console:words=serial|virtio --set:key --if-missing:flag --dry-run:flag -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=none
		;;
	vm-image)
		options='--name:none --checksum:none --format:none --size:none --kernel:file --kernel-from:file --initrd:file --append:none --output:file -H:flag --no-header:flag -p:flag --exact:flag -o:column --columns:column -s:column --sort:column -S:column --sort-down:column -f:column --filter:column -q:flag --quiet:flag --json:flag -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns='name format size used kernel append created source digest'
		operand=none
		;;
	vm-ls)
		options='-t:words=vm|snap --type:words=vm|snap -H:flag --no-header:flag -p:flag --exact:flag -o:column --columns:column -s:column --sort:column -S:column --sort-down:column -f:column --filter:column -q:flag --quiet:flag --json:flag -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns='name state cpus memory disk uptime reason pid since boots exits created machine engine kernel initrd append console note parent own shared protected'
		operand=vm
		;;
	vm-pause)
		options='-P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-prune)
		options='--keep-last:none --keep-hourly:none --keep-daily:none --keep-weekly:none --keep-monthly:none --keep-yearly:none --dry-run:flag --explain:flag -H:flag --no-header:flag -p:flag --exact:flag -o:column --columns:column -s:column --sort:column -S:column --sort-down:column -f:column --filter:column -q:flag --quiet:flag --json:flag -P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns='name time verdict rule'
		operand=vm
		;;
	vm-recv)
		options='--verify:flag --token:flag -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-reset)
		options='--soft:flag --hard:flag -t:none --timeout:none -P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-resume)
		options='-P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-rm)
		options='--force:flag --dry-run:flag -P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-rollback)
		options='--destructive:flag --disk-only:flag -P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-send)
		options='-i:none --from:none -n:flag --size:flag --resume:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-set)
		options='--dry-run:flag -P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=key
		;;
	vm-snap)
		options='-n:none --name:none --disk-only:flag --note:none --protect:flag --unless-newer-than:none -P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-stop)
		options='-t:none --timeout:none --force:flag --now:flag -P:none --parallel:none -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm-wait)
		options='--for:words=running|stopped|paused|login|console:REGEX -t:none --timeout:none --any:flag -h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=vm
		;;
	vm)
		options='-h:flag --help:flag --version:flag --state:dir -v:flag --verbose:flag --lock-wait:none'
		columns=''
		operand=none
		;;
	esac
}

# The functions below share the locals of _vm: cur, the word to complete;
# words, those before it; options, columns, operand of the command.

# Offers the words $1.
_vm_offer() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# The names of the VMs, in the state directory of --state if it was given.
_vm_names() {
	local i state=()
	for i in "${!words[@]}"; do
		[[ ${words[i]} != --state ]] || state=(--state "${words[i + 1]#=}")
		[[ ${words[i]}${words[i + 1]-} != --state= ]] || state=(--state "${words[i + 2]-}")
	done
	vm-ls "${state[@]}" -q 2>/dev/null
}

# Completes a value of KIND $1.
_vm_value() {
	local list=${cur%"${cur##*,}"}
	case $1 in
	file | dir)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -"${1:0:1}" -- "$cur")
		;;
	vm)
		_vm_offer "$(_vm_names)"
		;;
	words=*)
		_vm_offer "$(tr '|' ' ' <<<"${1#words=}")"
		;;
	column)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -P "$list" -W "$columns" -- "${cur##*,}")
		;;
	key)
		compopt -o nospace 2>/dev/null
		_vm_offer "$(tr ' ' '\n' <<<"$_vm_keys" | sed 's/=.*/=/')"
		;;
	esac
}

# Completes the value of config key $1.
_vm_key_value() {
	local pair
	for pair in $_vm_keys; do
		[[ ${pair%%=*} == "${1/%[0-9]*/0}" || ${pair%%=*} == "$1" ]] || continue
		case ${pair#*=} in
		*FILE*) _vm_value file ;;
		*'|'*) _vm_value "words=${pair#*=}" ;;
		esac
	done
}

# Completes the value the word before waits for; fails if it waits for none.
# Bash has cut the words at "=".
_vm_pending() {
	local n=${#words[@]} before option
	((n > 0)) || return
	before=${words[n - 1]}
	if [[ $before == = ]] && ((n > 1)); then
		before=${words[n - 2]}
		if [[ $before != -* ]]; then
			_vm_key_value "$before"
			return 0
		fi
	fi
	for option in $options; do
		if [[ ${option%%:*} == "$before" && ${option#*:} != flag ]]; then
			_vm_value "${option#*:}"
			return 0
		fi
	done
	return 1
}

# Whether there is an operand among the words.
_vm_has_operand() {
	local word
	for word in "${words[@]}"; do
		[[ $word == -* || $word == = ]] || return 0
	done
	return 1
}

_vm() {
	local cur=${COMP_WORDS[COMP_CWORD]} name=${COMP_WORDS[0]##*/} first=1
	local options='' columns='' operand=none words

	COMPREPLY=()
	if [[ $name == vm && $COMP_CWORD == 1 && $cur != -* ]]; then
		_vm_offer "$_vm_commands"
		return
	fi
	if [[ $name == vm && ${COMP_WORDS[1]} != -* ]]; then
		name=vm-${COMP_WORDS[1]} first=2
	fi
	_vm_table "$name"
	words=("${COMP_WORDS[@]:first:COMP_CWORD - first}")
	if [[ $cur == = ]]; then
		words+=("=")
		cur=''
	fi
	if _vm_pending; then
		return
	fi
	case $cur,$operand in
	-*) _vm_offer "$(tr ' ' '\n' <<<"$options" | sed 's/:.*//')" ;;
	*,key) if _vm_has_operand; then _vm_value key; else _vm_value vm; fi ;;
	*) _vm_value "$operand" ;;
	esac
}

complete -F _vm vm vm-boot vm-clone vm-console vm-create vm-image vm-ls vm-pause vm-prune vm-recv vm-reset vm-resume vm-rm vm-rollback vm-send vm-set vm-snap vm-stop vm-wait
