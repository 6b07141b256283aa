"""Byte pair encoding (Sennrich et al. 2016) learnt from few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

END = "</w>"  # as open_clip's tokenizer marks the last letter of a word


def learn_merges(words: Iterable[str], most: int) -> tuple[str, ...]:
    """Join the most frequent pair of tokens, again and again, until every word is one token.

    Args:
        words: The words, ASCII letters; equal ones count once.
        most: Stop after this many merges.

    Returns:
        The pairs in the order in which they were joined, ``"a b"``; equal counts are ordered by the alphabet.
    """
    pieces = [(*word[:-1], word[-1] + END) for word in sorted(set(words)) if word]
    merges: list[str] = []
    while len(merges) < most:
        counts = Counter(pair for piece in pieces for pair in pairwise(piece))
        if not counts:
            break
        pair = min(counts, key=lambda found: (-counts[found], found))
        merges.append(" ".join(pair))
        pieces = [_joined(piece, pair) for piece in pieces]
    return tuple(merges)


def _joined(piece: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """A word's tokens with every occurrence of a pair joined, from the left."""
    out: list[str] = []
    index = 0
    while index < len(piece):
        if piece[index : index + 2] == pair:
            out.append(pair[0] + pair[1])
            index += 2
        else:
            out.append(piece[index])
            index += 1
    return tuple(out)
