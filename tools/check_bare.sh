#!/usr/bin/env bash
# Copyright 2026 lift3d_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# Check on a fresh machine what the README promises: make a bare Debian or Ubuntu in a temporary
# folder, install nothing but git and make, and run `make demo`, `make docs` and `make test` on a
# clone of HEAD. `tools/check_bare.sh --help` lists the options; docs/develop.md explains them.

set -euo pipefail

usage() {
  cat <<'USAGE'
usage: tools/check_bare.sh [OPTION...] [SUITE...]

Run `make demo`, `make docs` and `make test` of a clone of HEAD on bare systems (root only; needs
debootstrap).
Suites: bookworm, trixie (Debian), noble (Ubuntu). Default: all three.

  --demo            run `make demo` only
  --container       run what the images of docker/ run instead: docker/install.sh, then as a user
                    without rights docker/check.sh
  --test-args WORDS arguments of pytest, as in: --test-args '-k launch'
  --bind DIR        show a folder of this machine in the bare system, read-only, at the same path,
                    as for a package index in pip's configuration; may be repeated
  --env NAME        pass an environment variable on; may be repeated (PIP_*, *_proxy and the
                    names of CA bundles are passed on anyway)
  --no-check-gpg    do not check the signature of the distribution's archive
  --folder DIR      where to make the systems, 10 GB free each (default: TMPDIR or /var/tmp)
  --keep            leave the folders, for a look inside by chroot; the mounts are undone
USAGE
}

say() { printf '%s\n' "check_bare: $*"; }
fail() { printf '%s\n' "check_bare: $*" >&2; exit 2; }

# The home of the bare system's only user.
guest_home=/root
guest_folder=$guest_home/lift3d_ros
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lift3d_ros/check_bare
folder=${TMPDIR:-/var/tmp}
targets=(demo docs test)
suites=()
binds=()
variables=()
debootstrap_options=(--variant=minbase)
test_arguments=
check_gpg=true
keep=false
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --demo) targets=(demo) ;;
    --container) targets=(container) guest_folder=/opt/lift3d_ros ;;
    --keep) keep=true ;;
    --no-check-gpg) check_gpg=false; debootstrap_options+=(--no-check-gpg) ;;
    --bind | --env | --folder | --test-args)
      (($# > 1)) || fail "$1 needs a value"
      case $1 in
        --bind) [[ -d $2 ]] || fail "--bind $2: there is no such folder"
          binds+=("$(realpath "$2")") ;;
        --env) variables+=("$2") ;;
        --folder) folder=$2 ;;
        --test-args) test_arguments=$2 ;;
      esac
      shift ;;
    bookworm | trixie | noble) suites+=("$1") ;;
    *) usage >&2; fail "unknown argument or suite: $1" ;;
  esac
  shift
done
((${#suites[@]})) || suites=(bookworm trixie noble)

[[ $(id -u) == 0 ]] || fail 'this needs root: sudo tools/check_bare.sh'
command -v debootstrap >/dev/null || fail 'debootstrap is missing: apt-get install debootstrap'
command -v git >/dev/null || fail 'git is missing: apt-get install git'
git -C "$here" diff --quiet HEAD || say 'uncommitted changes are left out: HEAD is checked'

# --- one bare system ----------------------------------------------------------------------------

root=
work=
mounts=()

mount_in() {  # SOURCE TARGET-IN-ROOT OPTIONS...: bind-mount, to be undone by clean_up
  local source=$1 target=$root$2
  shift 2
  mkdir -p "$source" "$target"
  mount --bind "$source" "$target"
  mounts+=("$target")
  (($# == 0)) || mount -o "remount,bind,$*" "$target"
}

# shellcheck disable=SC2329 # by a trap
clean_up() {
  local k
  for ((k = ${#mounts[@]} - 1; k >= 0; k--)); do
    umount -R "${mounts[k]}" 2>/dev/null || umount -R -l "${mounts[k]}" || true
  done
  mounts=()
  [[ -n $work ]] || return 0
  if $keep; then
    say "kept: $root (chroot $root; $work/*.log)"
  elif grep -qF " $root/" /proc/self/mounts; then
    say "still mounted below $root; the folder is left" >&2
  else
    rm -rf --one-file-system "$work"
  fi
  work=
}

copy_in() {  # FILE: the same file at the same path
  [[ -f $1 ]] || return 0
  mkdir -p "$root$(dirname "$1")"
  cp -L "$1" "$root$1"
}

# How this machine reaches its package archives, for a machine behind a proxy or with a mirror.
configure_network() {
  local name value
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  apt-config dump 2>/dev/null | grep -E '^Acquire::((http|https)(::|\.)|Check-|Retries)' \
    >"$root/etc/apt/apt.conf.d/00check-bare" || true
  environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    LANG=C.UTF-8 TERM=dumb)
  while IFS='=' read -r name value; do
    case $name in
      PIP_* | [hH][tT][tT][pP]_[pP][rR][oO][xX][yY] | [hH][tT][tT][pP][sS]_[pP][rR][oO][xX][yY] | \
        [nN][oO]_[pP][rR][oO][xX][yY] | SSL_CERT_FILE | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE | \
        GIT_SSL_CAINFO)
        environment+=("$name=$value")
        copy_in "$value" ;;
      *)
        for wanted in "${variables[@]}"; do
          [[ $name != "$wanted" ]] || environment+=("$name=$value")
        done ;;
    esac
  done < <(env)
  # pip's configuration files, and the files that they name.
  local file
  for file in /etc/pip.conf /etc/xdg/pip/pip.conf /usr/local/share/ca-certificates/*.crt; do
    copy_in "$file"
  done
  for file in "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "$HOME/.pip/pip.conf"; do
    [[ -f $file ]] || continue
    mkdir -p "$root$guest_home/.config/pip"
    cat "$file" >>"$root$guest_home/.config/pip/pip.conf"
  done
  if command -v pip >/dev/null; then
    while read -r file; do copy_in "$file"; done < <(
      pip config list 2>/dev/null | grep -oE "'[^']*'" | tr -d "'" | tr ' ' '\n' | grep '^/' || true)
  fi
}

inside() {  # COMMAND: run it in the bare system, with nothing of this shell's environment
  chroot "$root" /usr/bin/env -i "${environment[@]}" /bin/sh -c "$1" </dev/null
}

check() {  # SUITE: 0 passed, 1 failed, 3 skipped
  local suite=$1 mirror script=$1 options=("${debootstrap_options[@]}") components=main start status
  case $suite in
    noble) mirror=http://archive.ubuntu.com/ubuntu components=main,universe
      # An older debootstrap does not know the name; all releases of Ubuntu share one script.
      [[ -e /usr/share/debootstrap/scripts/$suite ]] || script=gutsy
      local keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
      if $check_gpg && [[ ! -f $keyring ]]; then
        say "$suite: skipped, there is no $keyring" \
          '(apt-get install ubuntu-archive-keyring, or --no-check-gpg)'
        return 3
      fi
      ! $check_gpg || options+=("--keyring=$keyring") ;;
    *) mirror=http://deb.debian.org/debian ;;
  esac
  work=$(mktemp -d "$folder/check_bare.$suite.XXXXXX")
  root=$work/root
  mkdir -p "$cache/$suite/debs" "$cache/$suite/apt/partial" "$cache/pip"

  say "$suite: making the bare system in $root"
  start=$SECONDS
  if ! debootstrap "${options[@]}" "--components=$components" \
      "--cache-dir=$(realpath "$cache/$suite/debs")" "$suite" "$root" "$mirror" \
      "/usr/share/debootstrap/scripts/$script" >"$work/debootstrap.log" 2>&1; then
    if grep -qE 'Failed getting release file|Invalid Release' "$work/debootstrap.log"; then
      say "$suite: skipped, its archive $mirror cannot be reached"
      return 3
    fi
    tail -n 5 "$work/debootstrap.log" >&2
    say "$suite: FAILED, debootstrap"
    return 1
  fi
  mount -t proc proc "$root/proc"
  mounts+=("$root/proc")
  mount --rbind /dev "$root/dev"
  mount --make-rslave "$root/dev"
  mounts+=("$root/dev")
  mount_in "$cache/$suite/apt" /var/cache/apt/archives
  mount_in "$cache/pip" "$guest_home/.cache/pip"
  # The packages of a container image are thrown away after their installation, these are kept.
  echo 'APT::Keep-Downloaded-Packages "true";' >"$root/etc/apt/apt.conf.d/01keep"
  local bind
  for bind in "${binds[@]}"; do mount_in "$bind" "$bind" ro; done
  configure_network
  inside 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
    --no-install-recommends git make' >"$work/apt.log" 2>&1 || {
    tail -n 5 "$work/apt.log" >&2
    say "$suite: FAILED, installing git and make"
    return 1
  }
  git clone -q --no-hardlinks "$here" "$root$guest_folder"
  chown -R 0:0 "$root$guest_folder"
  say "$suite: ready after $((SECONDS - start)) s"

  local target result=0
  for target in "${targets[@]}"; do
    start=$SECONDS
    status=0
    local command="cd $guest_folder && make $target"
    # As docker/Dockerfile: what it has of packages beyond setup.sh is for ROS 2 from Debian.
    [[ $target != container ]] ||
      command="cd $guest_folder && docker/install.sh && su lift3d -c docker/check.sh"
    [[ $target != test || -z $test_arguments ]] || command+=" ARGS=\"$test_arguments\""
    inside "$command" >"$work/$target.log" 2>&1 || status=$?
    if ((status)); then
      tail -n 40 "$work/$target.log" >&2
      cp "$work/$target.log" "$folder/check_bare.$suite.$target.log"
      say "$suite: FAILED, $target (exit status $status, $((SECONDS - start)) s); the whole" \
        "log is $folder/check_bare.$suite.$target.log"
      result=1
      break
    fi
    tail -n 4 "$work/$target.log"
    say "$suite: $target passed ($((SECONDS - start)) s)"
    [[ $target != demo ]] || say "$suite: $(du -sh "$root$guest_folder/.venv" | cut -f1) in .venv"
  done
  return "$result"
}

declare -A verdict
failed=0
for suite in "${suites[@]}"; do
  # In a shell of its own, which undoes the mounts however it ends; not as a condition, which would
  # switch off -e inside.
  set +e
  (
    set -e
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    check "$suite"
  )
  status=$?
  set -e
  case $status in
    0) verdict[$suite]=passed ;;
    3) verdict[$suite]=skipped ;;
    130 | 143) exit "$status" ;;
    *) verdict[$suite]=FAILED failed=1 ;;
  esac
done
for suite in "${suites[@]}"; do say "$suite: ${verdict[$suite]}"; done
exit "$failed"
