"""The operands and options that commands share, each declared once."""

from gradclip_cli.options import Operand, Option, count
from gradclip_cli.render.registry import RENDERERS
from gradclip_cli.results.sorts import SORTS
from gradclip_cli.tensors.dtypes import VOID_AS as CHOICES

PATHS = Operand(
    "paths",
    "Files, folders, URLs, or - for standard input; together one gradient.",
    "PATH",
    many=True,
)

INCLUDE = Option(
    "include",
    "Only tensors whose whole name matches; repeatable.",
    metavar="GLOB",
    group="What counts",
    common=True,
    many=True,
)
EXCLUDE = Option(
    "exclude",
    "Not these tensors; wins over --include; repeatable.",
    metavar="GLOB",
    group="What counts",
    common=True,
    many=True,
)
SELECTION = (INCLUDE, EXCLUDE)
ONE_GRADIENT = Option(
    "one_gradient",
    "Take the steps of a run for one gradient.",
    group="What counts",
    default=False,
)

COMBINE = Option(
    "combine",
    "Names in files: pieces (shards), copies, sum, mean.",
    metavar="[GLOB=]WAY",
    group="What counts",
    common=True,
    many=True,
)

STRIP_PREFIX = Option(
    "strip_prefix",
    "Take TEXT off the front of names first; repeatable.",
    metavar="TEXT",
    group="What counts",
    many=True,
)
RENAME = Option(
    "rename",
    "Replace matches in names; last = cuts; repeatable.",
    metavar="REGEX=NEW",
    group="What counts",
    many=True,
)
ALIGNED = (STRIP_PREFIX, RENAME)

VOID_AS = Option(
    "void_as",
    "What |V2 and |V1 arrays hold, such as bfloat16.",
    metavar="DTYPE",
    group="What counts",
    choices=CHOICES,
)

FORCE = Option(
    "force", "Replace files that exist.", group="Where it goes", common=True, default=False
)

HTML = Option(
    "html",
    "Write a page to show into FILE, beside what is printed.",
    metavar="FILE",
    group="Where it goes",
    common=True,
)

SORT = Option(
    "sort",
    "{choices}; worst first if not given.",
    metavar="KEY",
    choices=SORTS,
    group="Report",
    common=True,
)
REVERSE = Option("reverse", "Turn the order round.", group="Report", default=False)
TOP = Option(
    "top", "Only the first N rows.", metavar="N", parse=count("top"), group="Report", common=True
)
ALL = Option(
    "everything",
    "All rows, also those that the terminal has no room for.",
    flag="--all",
    group="Report",
    default=False,
)
ROWS = (SORT, REVERSE, TOP, ALL)

FAIL_NONFINITE = Option(
    "fail_nonfinite",
    "Status 1 if a value is NaN or infinite.",
    group="Gates",
    common=True,
    default=False,
)

QUIET = Option(
    "quiet",
    "Print nothing; the status tells.",
    short="-q",
    group="Report",
    common=True,
    default=False,
)
FORMAT = Option(
    "form",
    "{choices}; table on a terminal.",
    metavar="FORMAT",
    flag="--format",
    choices=RENDERERS,
    group="Report",
    common=True,
)
JSON = Option("json", "Short for --format json.", group="Report", common=True, default=False)
REPORT = (QUIET, FORMAT, JSON)

WORKERS = Option(
    "workers",
    "Threads; one for each processor if not given.",
    metavar="N",
    parse=count("workers"),
    group="Other",
)
SCHEDULER = Option(
    "scheduler",
    "Let Dask work: tcp://HOST:8786, env or local.",
    metavar="ADDRESS",
    group="Other",
)
