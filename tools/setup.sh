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
#   PYTHON=python3.12 tools/setup.sh    use another interpreter (3.10 to 3.12)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
state=$venv/.lift3d          # stamps of what was installed, and the log of the last installation
workspace=$root/.ws

say() { printf '%s\n' "setup: $*"; }
fail() { printf '%s\n' "setup: $*" >&2; exit 1; }
digest() { sha256sum "$@" | sha256sum | cut -c1-32; }
is_stamped() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# --- which Python, which ROS ------------------------------------------------------------------

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

python=${PYTHON:-python3}
python=$("$python" -c 'import sys; print(sys.executable)') ||
  fail "cannot run '${PYTHON:-python3}'; install Python 3.10, 3.11 or 3.12, or set PYTHON to one"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
  3.10 | 3.11 | 3.12) ;;
  *) fail "$python is Python $version, but this package supports 3.10, 3.11 and 3.12;" \
      "choose one by PYTHON, as in: make setup PYTHON=python3.12" ;;
esac

ros=embedded
if [[ -n ${ROS_DISTRO:-} && -n ${AMENT_PREFIX_PATH:-} ]]; then
  if "$python" -c 'import rclpy' 2>/dev/null; then
    ros=$ROS_DISTRO
  else
    fail "ROS 2 $ROS_DISTRO is sourced, but $python (Python $version) cannot import its rclpy;" \
      "choose the Python that this ROS was built for by PYTHON, or use a shell without ROS"
  fi
fi

# --- Debian packages --------------------------------------------------------------------------

wanted=()
command -v cmake >/dev/null || wanted+=(cmake)
command -v g++ >/dev/null || wanted+=(g++)
command -v make >/dev/null || wanted+=(make)
"$python" -c 'import ensurepip, venv' 2>/dev/null || wanted+=("python$version-venv")
[[ -f $("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]] ||
  wanted+=("python$version-dev")
# Shared libraries that the wheels of open3d load.
if command -v dpkg-query >/dev/null; then
  for package in libgl1 libgomp1 libusb-1.0-0; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      wanted+=("$package")
  done
fi

if ((${#wanted[@]})); then
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    say "installing the system packages ${wanted[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
      "${wanted[@]}" >/dev/null
  else
    fail "missing system packages; install them by: sudo apt-get install ${wanted[*]}"
  fi
fi

# --- one set-up at a time ---------------------------------------------------------------------

exec 9>"$root/.setup.lock"
if ! flock -n 9; then
  say 'waiting for another set-up of this folder to end'
  flock 9
fi

# --- the venv ---------------------------------------------------------------------------------

requirements=(requirements/{runtime,build,test,lint,ros}.txt)
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

install_wheels() {
  if [[ $ros == embedded ]]; then
    "$venv/bin/python" -m pip install -c requirements/constraints.txt \
      "${requirements[@]/#/--requirement=}"
    "$venv/bin/python" -m pip install --no-deps --no-build-isolation -e .
    "$venv/bin/python" tools/mend_wheels.py
  else
    # The messages of the sourced ROS are compiled against its numpy: keep that one, and let the
    # ranges of setup.py find what goes with it and with the pytest of that ROS.
    "$python" -c 'import numpy; print("numpy==" + numpy.__version__)' >"$state/numpy.txt"
    "$venv/bin/python" -m pip install -c "$state/numpy.txt" -r requirements/lint.txt -e '.[test]'
    command -v colcon >/dev/null || "$venv/bin/python" -m pip install -r requirements/build.txt
  fi
}

if ! is_stamped "$state/wheels" "$wheels_key"; then
  say 'installing the Python packages (about a minute; 1 GB of disk)'
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
  printf '%s' "$wheels_key" >"$state/wheels"
  rm -f "$state/installing"
fi

# --- the interfaces ---------------------------------------------------------------------------

mapfile -t sources < <(find msg srv action resource -type f | LC_ALL=C sort
  echo CMakeLists.txt; echo package.xml)
# Of launch/ and config/ only the names count: the installed files are links to them.
interfaces_key=$(digest <(digest "${sources[@]}"; printf '%s\n' "${sources[@]}"
  find launch config -type f 2>/dev/null | LC_ALL=C sort
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
