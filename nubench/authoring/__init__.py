"""What helps to write a plugin: `nubench new` writes one that runs, `nubench check` tries one."""

from nubench.authoring.checking import CheckResult, check_method, failures_of

__all__ = ["CheckResult", "check_method", "failures_of"]
