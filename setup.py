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

"""The library and the `lift3d` command for pip; colcon uses package.xml and CMakeLists.txt."""

from pathlib import Path
import re
import shutil

from setuptools import find_packages
from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(
    r"^__version__ = '(.+)'$", (HERE / 'lift3d_ros/__init__.py').read_text(), re.MULTILINE)[1]


class BuildWithData(build_py):
    """Puts the packaged weights and the message definitions, which lie beside it, into it."""

    def run(self):
        """Build, then copy them; a source checkout that is used in place has no need of it."""
        super().run()
        package = Path(self.build_lib) / 'lift3d_ros'
        for source, target in (
            (HERE / 'weights' / 'small', package / 'weights' / 'small'),
            (HERE / 'msg', package / 'data' / 'msg'),
        ):
            if source.is_dir() and not self.editable_mode:
                shutil.copytree(source, target, dirs_exist_ok=True)


setup(
    name='lift3d_ros',
    version=VERSION,
    description='A masked camera image in, the whole object out: a closed, coloured, metric mesh',
    license='Apache-2.0',
    # With the root named, an editable install is a plain path entry, which lets the generated
    # interfaces of an overlay join this package (see lift3d_ros/__init__.py).
    package_dir={'': '.'},
    packages=find_packages(include=['lift3d_ros', 'lift3d_ros.*']),
    include_package_data=False,
    package_data={'lift3d_ros': ['py.typed', 'data/**/*']},
    cmdclass={'build_py': BuildWithData},
    python_requires='>=3.10',
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in (10, 11, 12, 13)),
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    install_requires=[
        'numpy>=1.21.5,<3',
        'scipy>=1.8',
        'scikit-image>=0.19',
        'opencv-python-headless>=4.5.4',
        'trimesh>=4.0',
        'fast-simplification>=0.1.7',
        'open3d>=0.18',
        'pillow>=9.0',
        'tqdm>=4.57',
        'psutil>=5.9',
        'rosbags>=0.11',
        'backports-zstd>=1.0; python_version < "3.14"',
        'lz4>=4.0',
        'pyyaml>=5.4',
        'coacd>=1.0.5',
        'manifold3d>=3.1',
        'xatlas>=0.0.9',
        'torch>=2.6',
        'diffusers>=0.35',
        'transformers>=4.50',
        'accelerate>=1.0',
        'safetensors>=0.4',
    ],
    extras_require={
        # Segmentation models of `lift3d text`.
        'text': ['onnxruntime>=1.17'],
        'lora': ['peft>=0.17'],
        # `lift3d weights export --format onnx`, and the runtime that its test uses.
        'onnx': ['onnx>=1.16', 'onnxruntime>=1.17'],
        # Workers of `lift3d batch`; --workers 0 does without.
        'batch': ['ray>=2.40'],
        'serve': ['uvicorn>=0.30'],
        # `lift3d show`.
        'viewer': ['viser>=1.1,<2'],
        'docs': ['sphinx>=7.4', 'myst-parser>=3', 'furo', 'sphinx-design', 'sphinx-copybutton'],
        'test': ['pytest>=6.2', 'pytest-timeout>=1.4', 'hypothesis>=6.36', 'mujoco>=3.2,<4',
                 'playwright>=1.50'],
    },
    entry_points={'console_scripts': ['lift3d = lift3d_ros.cli:main']},
    zip_safe=False,
)
