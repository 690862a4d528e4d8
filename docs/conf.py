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

"""The site of the documentation: ``make docs``, or ``rosdoc2`` in a ROS 2 installation."""

import importlib.util
from pathlib import Path
import re
import sys

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lift3d_ros import __version__  # noqa: E402

project = 'lift3d_ros'
author = 'lift3d_ros contributors'
copyright = f'2026, {author}'  # noqa: A001
version = release = __version__

extensions = [
    'myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.viewcode', 'sphinx_copybutton',
    'sphinx_design',
]
# rosdoc2 adds pages of its own beside these.
exclude_patterns = ['_build', 'results']
if importlib.util.find_spec('rclpy') is None:
    # Its module cannot be imported where no ROS 2 is sourced.
    exclude_patterns.append('api/client.md')
    suppress_warnings = ['toc.excluded']
source_suffix = {'.md': 'markdown', '.rst': 'restructuredtext'}

# Headings are linked as on GitHub: page.md#heading.
myst_heading_anchors = 4
myst_enable_extensions = ['colon_fence']

# The API.
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
autodoc_default_options = {'members': True}
autoclass_content = 'both'
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Every reference must resolve, but those into packages whose documentation is elsewhere: the site
# is built without a network.
nitpicky = True
nitpick_ignore_regex = [
    ('py:.*', rf'({package})(\..*)?') for package in (
        'np', 'numpy', 'torch', 'nn', 'diffusers', 'transformers', 'rclpy', 'trimesh', 'PIL',
        'collections', 'pathlib', 'Path', 'Callable', 'Sequence', 'Mapping', 'Iterator',
        'Iterable', 'Any', 'NDArray', 'enum', 'StrEnum', 'abc', 'typing', 'optional', 'threading',
        'sensor_msgs', r'lift3d_ros\.(msg|srv|action)',
    )
]
# Values that methods and readers hand to each other; users never make them.
nitpick_ignore_regex += [
    ('py:.*', rf'(.*\.)?{name}') for name in (
        'DistillationInputs', 'Elevation', 'ElevationSettings', 'FilledView', 'KnownView',
        'Observed', 'Place', 'Plan', 'RadianceField', 'RadianceOccupancy', 'RenderSettings',
        'SamplerSettings', 'SmallReconstructor', 'Topic',
    )
]

html_theme = 'furo'
html_title = 'lift3d_ros'
html_static_path = [str(Path(__file__).resolve().with_name('site.css'))]
html_css_files = ['site.css']
html_show_sphinx = False


#: Pages of the repository that are not part of the site.
_BESIDE = re.compile(r'\]\((?:\.\./)+((?:weights/)?\w+\.md)')
_REPOSITORY = 'https://github.com/lift3d_ros/lift3d_ros/blob/main'


def link_to_the_repository(app: Sphinx, name: str, source: list[str]) -> None:
    """Link pages outside of docs/ to the repository."""
    source[0] = _BESIDE.sub(
        lambda match: match[0] if (Path(app.srcdir) / match[1]).exists()
        else f']({_REPOSITORY}/{match[1]}', source[0])


def find_by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Resolve a class that a signature names without its module, where only one has the name."""
    if node.get('refdomain') != 'py':
        return None
    last = node['reftarget'].rsplit('.', 1)[-1]
    domain = env.get_domain('py')
    found = [name for name in domain.objects if name.rsplit('.', 1)[-1] == last]
    if len(found) != 1:
        return None
    return domain.resolve_xref(
        env, node['refdoc'], app.builder, 'obj', found[0], node, content)


def shorten_factories(
    app: Sphinx, what: str, name: str, of: object, options: object, signature: str | None,
    returned: str | None
) -> tuple[str | None, str | None]:
    """Write ... for the default of a dataclass that is made anew each time, as ``<factory>``."""
    return signature and signature.replace('<factory>', '...'), returned


def setup(app: Sphinx) -> None:
    """Connect the handlers above."""
    app.connect('source-read', link_to_the_repository)
    app.connect('missing-reference', find_by_last_name)
    app.connect('autodoc-process-signature', shorten_factories)
