"""Which labels a model gets, which scheme the files are in, and whether the tags can be trusted.

The inventory is closed under the scheme and taken over all splits: a label seen only in validation data is a label too
(it cannot be learnt, which is reported), and ``I-PER`` exists wherever ``B-PER`` does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from ner_module.data.encoded import EncodedSplit
from ner_module.data.spelling import likely_outside, shown
from ner_module.data.store import StoredSplit
from ner_module.data.tag_census import SeenTag, bare_scheme, suspicious_tags
from ner_module.errors import QUOTE_ADVICE, DataError
from ner_module.tagging import BARE, OUTSIDE, LabelSet, complete_label_set, has_prefix, illegal_words, map_label_names

log = logging.getLogger(__name__)


def choose_source_schemes(
    stored: Mapping[str, StoredSplit], asked: str | None, outside_label: str | None = None
) -> dict[str, str]:
    """The schemes that the files of splits are in: what was asked for, or what is detected.

    Labels without prefixes are read the same way in all splits: by runs where some split shows that words are outside.

    Raises:
        DataError: tags with and without prefixes are mixed, or an asked-for prefixed scheme meets bare labels.
    """
    schemes = {name: _source_scheme(split, asked, outside_label) for name, split in stored.items()}
    return {name: "io" if scheme == "flat" and "io" in schemes.values() else scheme for name, scheme in schemes.items()}


def _source_scheme(stored: StoredSplit, asked: str | None, outside_label: str | None) -> str:
    report = stored.meta["schemes"]
    if report["rarest_flat"] is None:
        return asked or str(report["detected"])
    if asked in BARE or not (asked or report["prefixed_words"]):
        return asked or bare_scheme(stored.seen, outside_label)
    if report["prefixed_words"]:
        found = suspicious_tags(stored.seen)[0]
        path, line, problem, advice = found.path, found.line, found.problem, f"{found.advice}, or"
    else:
        _, path, line, _ = stored.seen[report["rarest_flat"]]
        problem = f"the tag {report['rarest_flat']!r} has no prefix such as B- or I-, which"
        problem += f" --data.source_scheme {asked} needs"
        advice = "correct it, or"
    advice += " set --data.source_scheme flat (io: by runs) if labels are meant to have none"
    raise DataError(path, line, problem, advice)


class Tags:
    """The tags of the annotated splits of a command, taken together.

    Args:
        splits, schemes: by name; the schemes are those of :func:`choose_source_schemes`.
        label_names: the labels that the user names; else those that a dataset declares. They are trusted.
        label_map: entity type (flat: label) -> its new name.
    """

    def __init__(
        self,
        splits: Mapping[str, StoredSplit],
        schemes: Mapping[str, str],
        label_names: Sequence[str] | None = None,
        label_map: Mapping[str, str] | None = None,
    ) -> None:
        self.splits, self.schemes, self.label_map = splits, schemes, dict(label_map or {})
        self.source_scheme = schemes.get("train") or next(iter(schemes.values()), "iob2")
        self.is_bare = self.source_scheme in BARE
        self.respelt = {old: new for split in splits.values() for old, new in split.meta["respelt"].items()}
        """Tags as the files spell them -> as they are read, where that differs."""
        declared = [label_names, *(split.meta["declared_names"] for split in splits.values())]
        names = next(filter(None, declared), None)
        self.declared: Sequence[str] | None = names and [self.respelt.get(name, name) for name in names]
        self.seen: dict[str, SeenTag] = {}
        """The tags of all splits; the place is that in the first one."""
        for split in splits.values():
            for tag, found in split.seen.items():
                known = self.seen.get(tag)
                self.seen[tag] = found if known is None else known._replace(uses=known.uses + found.uses)

    def check(self, scheme: str | None, asked_outside: str | None) -> LabelSet:
        """Refuse what a new model cannot be trained on; a label set without names yet (by default ``iob2`` or flat)."""
        self.check_label_map()
        for line in self.how_counted(asked_outside):
            log.warning("%s", line)
        scheme = scheme or ("flat" if self.source_scheme == "flat" else "iob2")
        outside = self.outside_label(scheme, asked_outside)
        self.check_spelling()
        return LabelSet((), scheme, outside)

    def how_counted(self, asked_outside: str | None) -> list[str]:
        """Lines on what may surprise: labels without prefixes, other spellings of prefixes, no word outside."""
        uses = {tag: found.uses for tag, found in self.seen.items()}
        lines = []
        if self.is_bare and uses:
            how = "a run of words with one label is one entity (--data.source_scheme flat: each word is)"
            if self.source_scheme == "flat":
                how = "each word that is not outside is one entity (--data.source_scheme io: runs of one label are)"
            where = next(iter(self.seen.values())).path
            lines.append(f"{where}: the labels have no prefix such as B- or I-: {how}")
        if self.respelt:
            lines.append("tags are read as " + ", ".join(f"{new} for {old}" for old, new in self.respelt.items()))
        if uses and (asked_outside or OUTSIDE) not in uses and OUTSIDE not in self.respelt.values():
            likely = likely_outside(uses)
            mark = f"if words such as the {uses[likely]:,} with {shown(likely)} are, set --data.outside_label {likely}"
            if all(map(str.isdecimal, uses)):
                mark = f"name integer tags with --data.label_names, or {mark}"
            elif not self.is_bare:
                mark = "put back words that were left out with the tag O, or name theirs with --data.outside_label"
            said = f"no word is outside, tagged {asked_outside or OUTSIDE}"
            lines.append(f"{said}: all words ({sum(uses.values()):,}) are in entities; {mark}")
        return lines

    def check_label_map(self) -> None:
        """Refuse a map that renames what does not exist, or to what cannot be a type."""
        flat = self.is_bare
        types = sorted(self.seen if flat else {_type_of(tag) for tag in self.seen if tag != OUTSIDE})
        for source, target in self.label_map.items():
            if source not in types:
                problem = f"no {'word has the label' if flat else 'entity has the type'} {source!r}"
                advice = f"the {'labels' if flat else 'types'} are {', '.join(types) or 'none'}"
                if str(source) in ("False", "True"):  # the parser does not check keys
                    advice = QUOTE_ADVICE
            elif not target.strip() or not target.isprintable():
                problem, advice = f"{source!r} would become {target!r}", "give a name, or O to drop it"
            elif not flat and "-" in target and has_prefix(target):
                problem = f"{source!r} would become {target!r}, which is a tag and not a type"
                advice = f"write {target.partition('-')[2]!r}; prefixes are kept"
            else:
                continue
            raise DataError("--data.label_map", None, problem, advice)

    def outside_label(self, scheme: str, asked: str | None) -> str | None:
        """The label of words outside any entity; ``None`` for flat labels that have none."""
        labels = [*self.seen, *self.respelt]
        if scheme == "flat":
            labels += [self.label_map[tag] for tag in self.seen if tag in self.label_map]
        if asked is not None and asked not in labels:
            problem, advice = f"no word has the tag {asked!r}", f"tags are {', '.join(labels)}"
            raise DataError("--data.outside_label", None, problem, advice)
        if scheme not in BARE:
            return OUTSIDE
        return asked or (OUTSIDE if scheme == "io" or OUTSIDE in labels else None)

    def undeclared(self) -> list[str]:
        """The tags that no declared label allows for; none where no labels are declared."""
        if self.declared is None:
            return []
        known = {OUTSIDE, *complete_label_set(self.declared, "flat" if self.is_bare else self.source_scheme, None)}
        return [tag for tag in self.seen if tag not in known]

    def check_spelling(self) -> None:
        """Refuse tags that are undeclared or most likely misspelt; log those that may be."""
        for tag in self.undeclared():
            problem = f"the tag {tag!r} is not among the labels {', '.join(self.declared or ())}"
            advice = "correct the tag, or add it to --data.label_names"
            raise DataError(self.seen[tag].path, self.seen[tag].line, problem, advice)
        for found in suspicious_tags(self.seen, self.is_bare) if self.declared is None else ():
            if found.certain:
                advice = f"{found.advice}, or name all labels in --data.label_names"
                raise DataError(found.path, found.line, found.problem, advice)
            log.warning("%s", found.error())

    def label_set(self, tags: Iterable[str], scheme: str, outside: str | None) -> LabelSet:
        """The labels of a new model by all tags, in the trained scheme; declared ones in it keep their order."""
        tags, declared = set(tags), self.declared
        if declared is not None:
            bare = not any(name != OUTSIDE and has_prefix(name) for name in declared)
            if self.label_map:
                declared = map_label_names(declared, self.label_map, "flat" if bare else "iob2", outside)
            if scheme == "flat" or all(name == OUTSIDE or has_prefix(name) for name in declared):
                ordered = complete_label_set(list(declared), scheme, outside)
                if tags <= set(ordered) and set(declared) <= set(complete_label_set(set(declared), scheme, outside)):
                    return LabelSet(tuple(ordered), scheme, outside)
        known = {OUTSIDE, *map(self._new_type, self.splits["train"].seen if "train" in self.splits else self.seen)}
        for tag, (_, path, line, _) in self.seen.items():
            if self._new_type(tag) not in known:
                known.add(self._new_type(tag))
                message = "%s:%s: the label %r does not occur in the training data: it cannot be learnt"
                log.warning(message, path, line, tag)
        return LabelSet(tuple(complete_label_set(tags, scheme, outside)), scheme, outside)

    def _new_type(self, tag: str) -> str:
        return self.label_map.get(_type_of(tag), _type_of(tag))


def _type_of(tag: str) -> str:
    return tag.partition("-")[2] or tag if has_prefix(tag) else tag


def check_learnable(labels: LabelSet, stored: StoredSplit) -> None:
    """Refuse training data with one label."""
    if len(labels.names) == 1:
        problem = f"every word has the tag {labels.names[0]!r}: there is nothing to learn"
        raise DataError(stored.meta["sources"][0], None, problem, "check --data.label_column_name")


def check_known(labels: LabelSet, stored: StoredSplit, encoded: EncodedSplit) -> None:
    """Refuse tags that a trained model has no label for, at the first word with one."""
    for tag in encoded.tag_names:
        if tag not in labels.names:
            place = stored.origin(*encoded.first_word_tagged(tag))
            problem = f"the label {tag!r} is unknown to the checkpoint's model, which has {', '.join(labels.names)}"
            problem += f"; the data has {', '.join(sorted(stored.seen))}"
            advice = "correct the tag, or train on from that model: --model.model_name_or_path RUN adds labels"
            raise DataError(*place, problem, advice)


def check_strict(stored: StoredSplit, source_scheme: str) -> None:
    """``--data.strict``: refuse tags that are illegal in their scheme, and character spans that do not fit words."""
    meta = stored.meta
    if meta["first_changed_span"] is not None:
        problem = f"a character span does not fit whole words, or another span ({meta['changed_spans']} in all)"
        advice = "correct the span, or leave out --data.strict to have them repaired"
        path, line = meta["first_changed_span"]
        raise DataError(path, line, problem, advice)
    total = meta["schemes"]["illegal_words"].get(source_scheme)  # counted when the data was read
    for index, (_, tags, _) in enumerate(stored.annotated() if total else ()):
        if tags and (illegal := illegal_words(tags, source_scheme)):
            word = illegal[0]
            before = f"after {tags[word - 1]!r}" if word else "at the start of a sentence"
            problem = f"the tag {tags[word]!r} {before} is illegal in {source_scheme}"
            problem += f" (word {word + 1} of the sentence; {total:,} such tags in all)"
            advice = "correct it, name another --data.source_scheme, or leave out --data.strict to have it repaired"
            raise DataError(*stored.origin(index, word), problem, advice)
