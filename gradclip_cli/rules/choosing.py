"""Which rule a user chose, on which terms; whatever cannot go together is refused here.

What excludes what, and what needs what, are tables: a pair of options, and what to do about it.
They are put together from what rules and options say of themselves.
"""

import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Need, Option, flag_of
from gradclip_cli.rules.by_global_norm import CLIP_NORM
from gradclip_cli.rules.registry import rules
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import (
    EPS,
    LIKE,
    NORM_TYPE,
    TERMS,
    USE_NORM,
    Nonfinite,
    Terms,
    eps_of,
    known_norm_of,
    loss_scale_of,
    norm_type_of,
)

_ONE_RULE = "give one rule a run"
_OF_ALL = "it is for the norm of all tensors together, --clip-norm alone"
_NOT_KNOWN = "leave --like out for the exact rule"


def options() -> list[Option]:
    """Give the options by which rules are chosen, each once, in the order of the help."""
    found = {}
    for rule in rules():
        for option in (rule.limit, rule.whose, *rule.further):
            if option is not None:
                found[option.name] = option
    return list(found.values())


def with_options(own: inspect.Signature) -> inspect.Signature:
    """Give what a function can be given that takes the options of the rules that there are now."""
    kept = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
    chosen = [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=option.default,
            annotation=option.annotation,
        )
        for option in options()
        if option.name not in own.parameters
    ]
    return own.replace(parameters=[kept[0], *chosen, *kept[1:]])


def apart() -> dict[tuple[str, str], str]:
    """Give the options that cannot go together, and the hint."""
    limits = list(dict.fromkeys(rule.limit.flag for rule in rules()))
    whose = [rule.whose.flag for rule in rules() if rule.whose is not None]
    found = {
        (option, other): _ONE_RULE
        for some in (limits, whose)
        for place, option in enumerate(some)
        for other in some[:place]
    }
    for term in (NORM_TYPE, EPS):
        found |= {
            (term.flag, _own(rule).flag): rule.apart[term.name]
            for rule in rules()
            if term.name in rule.apart
        }
    found |= {
        (term.flag, flag_of(other)): hint for term in TERMS for other, hint in term.apart.items()
    }
    found |= {(LIKE.flag, _own(one).flag): _NOT_KNOWN for one in rules() if not one.frameworks}
    found |= {
        (flag_of(other), option.flag): hint
        for option in options()
        for other, hint in option.apart.items()
    }
    found |= {(USE_NORM.flag, _own(one).flag): _OF_ALL for one in rules() if not one.is_joint}
    return found


def needs() -> dict[str, Need]:
    """Give the options that say nothing without another: which that is, and the hint."""
    whose = [rule.whose for rule in rules() if rule.whose is not None]
    others = itertools.chain.from_iterable((*rule.further, rule.limit) for rule in rules())
    return {option.flag: option.needs for option in (*whose, *others) if option.needs is not None}


def _own(rule: type[Rule]) -> Option:
    """Give the option that only this rule has."""
    return rule.whose or rule.limit


def chosen(rule: Rule | None, given: Mapping[str, Any]) -> tuple[Rule, Terms]:
    """Give the rule and its terms; raises `GradclipError` unless exactly one is named, and whole.

    `given` are options by their parameters, those of rules and terms; None or False stands for
    those that were not given. A rule that is given as an object takes the place of its options.

    >>> chosen(None, {"clip_value": "-1,2"})[0]
    ClipByValue(low=-1.0, high=2.0)
    """
    _check_known(given)
    named = {name for name, value in given.items() if value is not None and value is not False}
    if rule is not None:
        double = sorted(named & {option.name for option in options()})
        if double:
            raise GradclipError("rule", f"cannot go with {flag_of(double[0])}", _ONE_RULE)
        named |= rule.given
    flags = {flag_of(name) for name in named}
    kind = type(rule) if rule is not None else _named(named)
    for (option, other), hint in apart().items():
        if {option, other} <= flags:
            raise GradclipError(option, f"cannot go with {other}", hint)
    for option, need in needs().items():
        if option in flags and flag_of(need.option) not in flags:
            raise GradclipError(option, f"needs {need.what}", need.hint)
    _check_framework(kind, given)
    p = norm_type_of(given.get("norm_type"))
    like = given.get("like")
    rule = rule or kind.chosen(given)
    rule.check(like)
    eps = eps_of(given.get("eps"), rule.eps)
    known = known_norm_of(given.get("use_norm"), like)
    policy: Nonfinite = given.get("nonfinite") or "refuse"
    scale = loss_scale_of(given.get("loss_scale"), policy)
    return rule, Terms(policy, p, eps, like, known, scale)


def each_chosen(given: Mapping[str, Any]) -> list[tuple[Rule, Terms]]:
    """Give a rule for each limit that is named, with the options that go with it.

    What is given is as `chosen` takes it; the limit of the joint norm may be several in a list.

    >>> given = {"clip_norm": [1.0, 5.0], "per_tensor": True, "clip_rms": 0.1}
    >>> [rule.bound for rule, _ in each_chosen(given)]
    ['1.0', '5.0', '0.1']
    """
    own: dict[str, set[str]] = {}
    for rule in rules():
        some = (rule.limit, rule.whose, *rule.further)
        own.setdefault(rule.limit.name, set()).update(one.name for one in some if one is not None)
    given = {name: value for name, value in given.items() if value not in ([], ())}
    named = [limit for limit in own if given.get(limit) is not None]
    if not named:
        return [chosen(None, given)]
    found = []
    for limit in named:
        others = set[str]().union(*(own[other] for other in named)) - own[limit]
        mine = {name: value for name, value in given.items() if name not in others}
        value = given[limit]
        several = limit == CLIP_NORM.name and isinstance(value, list | tuple)
        found += [chosen(None, {**mine, limit: one}) for one in (value if several else [value])]
    return found


def _check_known(given: Mapping[str, Any]) -> None:
    known = {option.name for option in (*options(), *TERMS)}
    for name in given:
        if name not in known:
            raise TypeError(f"apply() got an unexpected keyword argument {name!r}")


def _named(named: set[str]) -> type[Rule]:
    """Give the rule that is named, as far as one is."""
    meant = [rule for rule in rules() if rule.limit.name in named]
    if not meant:
        *examples, last = _examples()
        raise GradclipError(
            "", "no rule is named", f"give a limit: {', '.join(examples)}, or {last}"
        )
    return next((rule for rule in meant if rule.whose and rule.whose.name in named), meant[0])


def _examples() -> Iterator[str]:
    return (rule.example for rule in rules() if rule.example)


def _check_framework(rule: type[Rule], given: Mapping[str, Any]) -> None:
    like, norm_type, policy = (given.get(name) for name in ("like", "norm_type", "nonfinite"))
    if like is None:
        return
    if like not in LIKE.choices:
        raise GradclipError(
            LIKE.flag, f"{like!r} is no framework", f"give one of {', '.join(LIKE.choices)}"
        )
    if like not in rule.frameworks:
        raise GradclipError(
            LIKE.flag,
            f"{like} has no rule for {rule.about}",
            f"give --like {' or '.join(rule.frameworks)}, or leave it out",
        )
    if like != "torch" and norm_type not in (None, 2):
        raise GradclipError(
            NORM_TYPE.flag, f"{like} knows no other norm than 2", "leave --norm-type out"
        )
    if policy not in (None, "refuse", "propagate"):
        raise GradclipError(
            LIKE.flag,
            f"cannot go with --nonfinite {policy}",
            "leave --nonfinite out: the framework has its own way",
        )
