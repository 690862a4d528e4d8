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

# Make everything that the demo and the tests need: system packages, a venv with pinned wheels,
# and the interfaces of this package. What is already there and up to date is left as it is.
#
#   PYTHON=python3.12 tools/setup.sh    use another interpreter (3.10 to 3.13)
#   LIFT3D_TORCH=cpu tools/setup.sh     the build of torch: cpu, cuda (that of PyPI), or default
#                                       (whatever pip's configuration finds). Without it: cpu where
#                                       there is no NVIDIA GPU and the index can be reached
#   LIFT3D_BROWSER=1 tools/setup.sh     also chromium for the tests of the viewer, as make test does

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
state=$venv/.lift3d          # stamps of what was installed, and the log of the last installation
workspace=$root/.ws

say() { printf '%s\n' "setup: $*"; }
fail() { printf '%s\n' "setup: $*" >&2; exit 1; }
digest() { sha256sum "$@" | sha256sum | cut -c1-32; }
case ${LIFT3D_TORCH:-cpu} in
  cpu | cuda | default) ;;
  *) fail "LIFT3D_TORCH is '$LIFT3D_TORCH'; it is one of cpu, cuda and default" ;;
esac
is_stamped() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# --- a clean environment ----------------------------------------------------------------------

# A shell in which our own venv is active has it first on its path: look behind it, lest the venv
# be taken for one of another Python, and deleted together with the Python that shall make it anew.
PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -vFx "$venv/bin" | paste -sd:)
[[ ${VIRTUAL_ENV:-} == "$venv" ]] && unset VIRTUAL_ENV
# So does one in which tools/env.sh was sourced, and it has our ROS besides.
if [[ -n ${LIFT3D_ROS:-} ]]; then
  unset VIRTUAL_ENV
  [[ $LIFT3D_ROS == embedded ]] && unset ROS_DISTRO AMENT_PREFIX_PATH CMAKE_PREFIX_PATH \
    LD_LIBRARY_PATH PYTHONPATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
fi

# --- which Python -----------------------------------------------------------------------------

supported='3.10, 3.11, 3.12 or 3.13'
how_to_get='from the distribution, python.org, uv or conda'

check_version() {
  version=$("${PYTHON:-python3}" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  case $version in
    3.10 | 3.11 | 3.12 | 3.13) ;;
    *) fail "${PYTHON:-python3} is Python $version, but this package needs Python $supported;" \
        "install one ($how_to_get) and name it by PYTHON, as in: make setup PYTHON=python3.12" ;;
  esac
}

version=
if "${PYTHON:-python3}" -c '' 2>/dev/null; then
  check_version
elif [[ ${PYTHON:-python3} != python3 ]]; then
  fail "cannot run '$PYTHON'; set PYTHON to a Python $supported ($how_to_get)"
fi

# --- Debian packages --------------------------------------------------------------------------

# Names of what is missing. A bare Debian has no Python. The shared libraries are those that the
# wheels load without bringing them: open3d needs them all.
missing_packages() {
  local entry headers libraries
  for entry in cmake g++ make; do command -v "$entry" >/dev/null || echo "$entry"; done
  if [[ -z $version ]]; then
    printf '%s\n' python3 python3-venv python3-dev
  else
    "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || echo "python$version-venv"
    headers=$("${PYTHON:-python3}" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [[ -f $headers/Python.h ]] || echo "python$version-dev"
  fi
  # ldconfig is not on the path of every user.
  if libraries=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null); then
    for entry in libEGL.so.1=libegl1 libGL.so.1=libgl1 libX11.so.6=libx11-6 \
        libgomp.so.1=libgomp1 libusb-1.0.so.0=libusb-1.0-0; do
      [[ $libraries == *"${entry%=*} "* ]] || echo "${entry#*=}"
    done
  fi
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@"
}

mapfile -t wanted < <(missing_packages)
if ((${#wanted[@]})); then
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    say "installing the system packages ${wanted[*]}"
    if ! apt_log=$(install_packages "${wanted[@]}" 2>&1); then
      tail -n 8 <<<"$apt_log" >&2
      fail "installing the system packages failed; install them by hand: ${wanted[*]}"
    fi
    [[ -n $version ]] || check_version
  else
    fail "missing system packages; install them by: sudo apt-get install ${wanted[*]}"
  fi
fi
python=$("${PYTHON:-python3}" -c 'import sys; print(sys.executable)')

# The browser for the tests of pages, which are skipped without it: only where root can install it
# as a plain package. Ubuntu has a snap instead.
if [[ -n ${LIFT3D_BROWSER:-} && $(id -u) == 0 ]] && ! command -v chromium >/dev/null &&
    grep -qsx 'ID=debian' /etc/os-release; then
  say 'installing the system package chromium, for the tests of the viewer'
  install_packages chromium >/dev/null 2>&1 ||
    say 'chromium cannot be installed; the tests of the page of the viewer are skipped'
fi

# --- which ROS --------------------------------------------------------------------------------

ros=embedded
if [[ -n ${ROS_DISTRO:-} && -n ${AMENT_PREFIX_PATH:-} ]]; then
  if "$python" -c 'import rclpy' 2>/dev/null; then
    ros=$ROS_DISTRO
  else
    fail "ROS 2 $ROS_DISTRO is sourced, but $python (Python $version) cannot import its rclpy;" \
      "choose the Python that this ROS was built for by PYTHON, or use a shell without ROS"
  fi
fi

# --- one set-up at a time ---------------------------------------------------------------------

exec 9>"$root/.setup.lock"
if ! flock -n 9; then
  say 'waiting for another set-up of this folder to end'
  flock 9
fi

# --- the venv ---------------------------------------------------------------------------------

requirements=(requirements/{runtime,services,build,test,docs,lint,ros}.txt)
python_key="$python $("$python" -VV | tr '\n' ' ')$ros"
wheels_key=$(digest "${requirements[@]}" requirements/constraints.txt setup.py \
  tools/mend_wheels.py)

if [[ -d $venv ]] && ! is_stamped "$state/python" "$python_key"; then
  say 'the venv is incomplete or was made for another Python or ROS: making it anew'
  rm -rf "$venv"
elif [[ -d $venv ]] && ! grep -qF "$venv" "$venv/bin/activate"; then
  say 'this folder was moved: making the venv anew'
  rm -rf "$venv"
elif [[ -f $state/installing ]]; then
  say 'an earlier installation did not finish: making the venv anew'
  rm -rf "$venv"
elif [[ -d $venv && -n ${LIFT3D_TORCH:-} ]] && ! is_stamped "$state/torch" "$LIFT3D_TORCH"; then
  say "another build of torch is asked for ($LIFT3D_TORCH): making the venv anew"
  rm -rf "$venv"
fi

if [[ ! -d $venv ]]; then
  say "making .venv with Python $version ($([[ $ros == embedded ]] && echo \
    'ROS 2 from PyPI' || echo "ROS 2 $ros as sourced"))"
  venv_options=()
  [[ $ros == embedded ]] || venv_options+=(--system-site-packages)
  "$python" -m venv "${venv_options[@]}" "$venv"
  mkdir -p "$state"
  printf '%s' "$python_key" >"$state/python"
fi

# The build of torch for machines without an NVIDIA GPU is half as large. PyPI does not have it.
torch_index=https://download.pytorch.org/whl/cpu
torch_version=$(sed -nE 's/^torch==([0-9.]+)$/\1/p' requirements/runtime.txt)
torch_cpu=torch==$torch_version+cpu

has_nvidia_gpu() { compgen -G '/dev/nvidia*' >/dev/null || command -v nvidia-smi >/dev/null; }

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# Whether pip finds that build: in its own configuration, or in the index. One try, so that a
# machine that cannot reach the index does not wait for it.
finds_torch_cpu() {
  pip index versions torch --index-url "$torch_index" --retries 0 --timeout 8 2>/dev/null |
    grep -qE "[ (]$torch_version\+cpu([,)]|$)"
}

choose_torch() {  # sets torch (cpu, cuda or default) and size
  torch=${LIFT3D_TORCH:-}
  if [[ -z $torch ]]; then
    torch=default
    has_nvidia_gpu || torch=cpu
  fi
  size=7.2
  [[ $torch == cpu ]] || return 0
  if [[ $ros != embedded ]] && "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    torch=default   # it belongs to the Python of the sourced ROS
    size=3.5
  elif finds_torch_cpu; then
    size=3.6
  elif [[ -n ${LIFT3D_TORCH:-} ]]; then
    fail "LIFT3D_TORCH=cpu: $torch_cpu is neither at $torch_index nor where pip's configuration" \
      'points; make one of them reachable, or set LIFT3D_TORCH=default'
  else
    say "the CPU build of torch is not available ($torch_index cannot be reached);" \
      'taking that of PyPI, which brings CUDA along'
    torch=default
  fi
}

install_wheels() {
  local torch_options=()
  case $torch in
    cpu) pip install --no-deps --index-url "$torch_index" "$torch_cpu" ;;
    cuda) echo "torch!=$torch_version+cpu" >"$state/torch.txt"
      torch_options=(-c "$state/torch.txt") ;;
  esac
  if [[ $ros == embedded ]]; then
    pip install -c requirements/constraints.txt "${torch_options[@]}" \
      "${requirements[@]/#/--requirement=}"
    pip install --no-deps --no-build-isolation -e .
    "$venv/bin/python" tools/mend_wheels.py
  else
    # The messages of the sourced ROS are compiled against its numpy: keep that one, and let the
    # ranges of setup.py find what goes with it and with the pytest of that ROS.
    "$python" -c 'import numpy; print("numpy==" + numpy.__version__)' >"$state/numpy.txt"
    pip install -c "$state/numpy.txt" "${torch_options[@]}" -r requirements/lint.txt -e '.[test,docs,batch,serve]'
    command -v colcon >/dev/null || pip install -r requirements/build.txt
  fi
}

if ! is_stamped "$state/wheels" "$wheels_key"; then
  choose_torch
  say "installing the Python packages ($size GB of disk, with the $([[ $torch == cpu ]] &&
    echo CPU || echo default) build of torch; some minutes)"
  rm -f "$state/wheels"
  touch "$state/installing"
  # A pipeline or an if would switch off -e inside the function.
  set +e
  (set -e; install_wheels) >"$state/pip.log" 2>&1
  status=$?
  set -e
  if ((status)); then
    grep -v 'WARNING: ' "$state/pip.log" | tail -n 20 >&2
    fail "installing the Python packages failed; the whole log is .venv/.lift3d/pip.log"
  fi
  printf '%s' "${LIFT3D_TORCH:-}" >"$state/torch"
  printf '%s' "$wheels_key" >"$state/wheels"
  rm -f "$state/installing"
fi

# --- the interfaces ---------------------------------------------------------------------------

mapfile -t sources < <(find msg srv action resource -type f | LC_ALL=C sort
  echo CMakeLists.txt; echo package.xml)
# Of launch/, config/ and weights/ only the names count: the installed files are links to them.
interfaces_key=$(digest <(digest "${sources[@]}"; printf '%s\n' "${sources[@]}"
  find launch config weights -type f 2>/dev/null | LC_ALL=C sort
  printf '%s\n' "$python_key" "$root"; cat "$state/wheels"))

build_interfaces() {
  # shellcheck source=tools/env.sh
  . tools/env.sh
  colcon --log-base "$workspace/log" build --base-paths "$root" \
    --build-base "$workspace/build" --install-base "$workspace/install" --symlink-install \
    --event-handlers console_direct+ \
    --cmake-args "-DPython3_EXECUTABLE=$venv/bin/python" -DBUILD_TESTING=OFF \
    -DLIFT3D_INSTALL_LIBRARY=OFF
  python -c 'from lift3d_ros.msg import LiftedObject; LiftedObject()'
}

if ! is_stamped "$workspace/stamp" "$interfaces_key"; then
  say 'building the interfaces (about half a minute)'
  rm -rf "$workspace"
  mkdir -p "$workspace"
  set +e
  (set -e; build_interfaces) >"$workspace/build.log" 2>&1
  status=$?
  set -e
  if ((status)); then
    grep -iE -A8 'error' "$workspace/build.log" | head -n 40 >&2 || true
    fail "building the interfaces failed; the whole log is .ws/build.log"
  fi
  printf '%s' "$interfaces_key" >"$workspace/stamp"
fi

say "ready (Python $version, ROS 2 $([[ $ros == embedded ]] && echo 'Jazzy from PyPI' ||
  echo "$ros as sourced")); to use it in this shell: . tools/env.sh"
