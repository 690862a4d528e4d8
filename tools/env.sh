# shellcheck shell=bash
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

# To be sourced (bash or zsh), after `make setup`:   . tools/env.sh
# Then `lift3d`, and `python` with rclpy and lift3d_ros.msg, work in this shell. The library is the
# one in this source tree; the generated interfaces come from .ws/install.

_lift3d_prepend() {  # VARIABLE FOLDER: put it first, once
  local value
  eval "value=\${$1:-}"
  value=":$value:"
  while [[ $value == *":$2:"* ]]; do value=${value/":$2:"/:}; done
  value=${value#:}
  value=${value%:}
  eval "export $1=\$2\${value:+:\$value}"
}

_lift3d_env() {
  local root=$1 site folder
  if [[ ! -x $root/.venv/bin/python ]]; then
    echo "env.sh: there is no .venv here; run 'make setup' first" >&2
    return 1
  fi
  # As bin/activate does, without its change of the prompt.
  export VIRTUAL_ENV=$root/.venv
  _lift3d_prepend PATH "$root/.venv/bin"
  unset PYTHONHOME
  site=$(echo "$root"/.venv/lib/python3*/site-packages)

  if [[ -f $site/rclpy/__init__.py ]]; then
    export LIFT3D_ROS=embedded ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
    _lift3d_prepend AMENT_PREFIX_PATH "$root/.venv"
    _lift3d_prepend CMAKE_PREFIX_PATH "$root/.venv"
    # The wheels would find these by running the interpreter a second time at each start; that
    # start-up code keeps still when it is told that the path is complete.
    while IFS= read -r folder; do
      _lift3d_prepend LD_LIBRARY_PATH "$folder"
    done < <(find "$site" -maxdepth 1 -name 'ros_*.libs' | sort)
    _lift3d_prepend LD_LIBRARY_PATH "$root/.venv/lib"
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
  elif [[ -n ${ROS_DISTRO:-} ]]; then
    export LIFT3D_ROS=$ROS_DISTRO
  else
    echo 'env.sh: this .venv was made with a sourced ROS 2; source it first, or run make setup' >&2
    return 1
  fi

  # What the overlay's own setup.bash does, without starting Python for it.
  folder=$root/.ws/install/lift3d_ros
  _lift3d_prepend AMENT_PREFIX_PATH "$folder"
  _lift3d_prepend CMAKE_PREFIX_PATH "$folder"
  _lift3d_prepend LD_LIBRARY_PATH "$folder/lib"
  _lift3d_prepend PYTHONPATH "$folder/lib/$(basename "$(dirname "$site")")/site-packages"
  # The source tree comes before its installed copy; lift3d_ros/__init__.py joins the two.
  _lift3d_prepend PYTHONPATH "$root"
}

# In bash this file's path; in zsh $0 is the path of the file being sourced.
_lift3d_env "$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
