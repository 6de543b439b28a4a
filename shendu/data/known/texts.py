"""Known texts, running text and sentence pairs."""

from __future__ import annotations

from pathlib import Path

from shendu.data.known.entry import File, Known, local

MULTI30K = {
    "train.de": ("train.de.gz", 637_044, "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"),
    "train.en": ("train.en.gz", 568_929, "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"),
    "validation.de": ("val.de.gz", 24_681, "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
    "validation.en": ("val.en.gz", 21_650, "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
    "test.de": ("test_2016_flickr.de.gz", 22_890, "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"),
    "test.en": ("test_2016_flickr.en.gz", 21_077, "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"),
}
LANGUAGES = {"de": "German", "en": "English"}


def text_in(entry: Known, folder: Path) -> dict[str, Path] | None:
    """The text in the set's own folder; in another, a file of that name must have its size too."""
    found = {file.key: folder / file.filename for file in entry.files}
    own = folder.name == entry.name
    right = all(
        found[file.key].is_file() and (own or found[file.key].stat().st_size == file.size) for file in entry.files
    )
    return found if right else None


def _multi30k(source: str, target: str) -> Known:
    return Known(
        name=f"multi30k-{source}-{target}",
        summary=f"captions of pictures, 29,000 + 1,014 + 1,000 sentences from {LANGUAGES[source]} to {LANGUAGES[target]}",
        kind="pairs",
        languages=(source, target),
        files=tuple(local(key, *file) for key, file in MULTI30K.items()),
        licence="none stated; sentences derive from Flickr30k's captions (cite Elliott et al. 2016)",
        home="https://github.com/multi30k/dataset",
        within="multi30k",
    )


SETS: tuple[Known, ...] = (
    Known(
        name="imdb",
        summary="film reviews, 25,000 + 25,000 texts: positive or negative",
        kind="archive",
        files=(
            File(
                "archive",
                "aclImdb_v1.tar.gz",
                "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
                84_125_825,
                ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
            ),
        ),
        part="aclImdb*.tar.gz",
        classes=("neg", "pos"),
        licence="none stated (cite Maas et al. 2011); the reviews are their writers'",
        home="https://ai.stanford.edu/~amaas/data/sentiment/",
    ),
    Known(
        name="tinyshakespeare",
        summary="plays of Shakespeare, 1,115,394 characters; the last tenth is the validation part, as is usual",
        kind="prose",
        look=text_in,
        files=(
            File(
                "text",
                "input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                1_115_394,
                ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
            ),
        ),
        licence="public domain; the collection is MIT (char-rnn)",
        home="https://github.com/karpathy/char-rnn",
        shares={"train": 0.9, "validation": 0.1},
    ),
    _multi30k("de", "en"),
    _multi30k("en", "de"),
)
