"""Tags that are misspelt, unknown, or in an order their scheme does not allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ner_module.data.inventory import Tags
from ner_module.data.tag_census import suspicious_tags
from ner_module.extras.audit.corpus import Corpus, Source
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Example, Finding, Severity


def misspelt_tags(tags: Tags) -> list[Finding]:
    """Every tag that is unknown or looks like a typing error; ``fit`` stops at the first that is certainly one."""

    def finding(code: str, severity: Severity, tag: str, problem: str, advice: str) -> Finding:
        count, file, line, word = tags.seen[tag]
        return Finding(code, severity, count, problem, Example(file, line, f"{word} {tag}"), advice)

    found = []
    for tag in tags.undeclared():
        problem = f"the tag {tag!r} ({plural(tags.seen[tag].uses, 'word')}) is not among the labels "
        problem += ", ".join(tags.declared or ())
        found.append(finding("unknown_tag", "error", tag, problem, "correct the tag, or add it to --data.label_names"))
    for suspicion in suspicious_tags(tags.seen, tags.source_scheme == "flat") if tags.declared is None else ():
        tag, problem, advice = suspicion.tag, suspicion.problem, suspicion.advice
        if suspicion.certain:
            advice += ", or name all labels in --data.label_names"
            found.append(finding("misspelt_tag", "error", tag, problem, advice))
        else:
            found.append(finding("rare_tag", "warning", tag, problem, advice))
    return found


def changed_spans(sources: Mapping[str, Source]) -> list[Finding]:
    """Character spans that did not fall on words, overlapped or nested."""
    advice = "a tagger gives each whole word one type: check that what was widened or dropped is what you meant"
    found = []
    for name, source in sources.items():
        if changes := source.stored.meta["changed_spans"]:
            message = f"not every character span could be stored as it was: {changes}"
            example = Example(source.stored.meta["sources"][0], None, f"{name} data")
            found.append(Finding("changed_spans", "warning", 1, message, example, advice))
    return found


def illegal_tags(corpus: Corpus) -> list[Finding]:
    """Words whose tag is not what the scheme writes there: for each file how many, and where the first one is."""
    counts: Counter[tuple[str, str]] = Counter()  # by file and scheme
    first: dict[tuple[str, str], Example] = {}
    for sentence in corpus.sentences:
        if illegal := sentence.illegal:
            key = sentence.source.stored.origin(sentence.number)[0], sentence.source.scheme
            counts[key] += len(illegal)
            if key not in first:
                at, tags = illegal[0], sentence.tags
                before = f"after {tags[at - 1]}" if at else "at the start"
                first[key] = sentence.example(at, at + 1, f"  has {tags[at]} {before}")
    advice = "correct the tags, or name another scheme with --data.source_scheme"
    found = []
    for (file, scheme), count in counts.items():
        message = f"{plural(count, 'tag')} not allowed by {scheme.upper()}; entities are read by the conlleval rule"
        found.append(Finding("illegal_tags", "warning", count, message, first[file, scheme], advice))
    return found
