"""Every world: its table, its painter, its words and its examples agree with one another."""

import ast
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import deltaedit
from deltaedit import ClipEncoder, Domain, FeatureStore, domains, worlds
from deltaedit.domain import CLIP
from deltaedit.features import SHARD, shard_latents
from deltaedit.worlds import captions, evaluate
from deltaedit.worlds.captions import facts, negations
from deltaedit.worlds.faces.judge import ASKS
from deltaedit.worlds.pool import latents, open_pool
from deltaedit.worlds.table import Binary, Choice, Scale, Table
from deltaedit.worlds.train_generator import MINIATURE
from deltaedit.worlds.world import Goal

WORLDS = [worlds.named(name) for name in worlds.NAMES]
each_world = pytest.mark.parametrize("world", WORLDS, ids=worlds.NAMES)
each_attribute = pytest.mark.parametrize(
    ("world", "name"), [pytest.param(w, name, id=f"{w.name}-{name}") for w in WORLDS for name in w.table.names]
)


def draw(world, n: int, seed: int = 0) -> torch.Tensor:
    return world.sample(n, torch.Generator().manual_seed(seed))


def phrases(a: Binary | Choice | Scale) -> list[str]:
    if isinstance(a, Binary):
        return [*a.yes, *a.no]
    return [*a.low, *a.high] if isinstance(a, Scale) else [phrase for o in a.options for phrase, _ in a.facts(o)]


def test_the_method_knows_of_no_world():
    for path in Path(deltaedit.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any("worlds" in name for name in names), path.name


# What a world declares.


@each_world
def test_a_world_has_its_packages_name_and_weights_of_its_own(world):
    assert worlds.named(world.name) is world
    assert worlds.of(Domain(world.name, world=world.name)) is world
    if world.name in domains.FOLDERS:
        assert Domain.read(domains.find(world.name)).world == world.name
        assert Domain.read(domains.find(world.name)).neutral == world.neutral


def test_a_domain_of_no_world_has_examples_too(tmp_path, capsys):
    for world in WORLDS:
        assert worlds.examples(Domain(world.name, world=world.name)) is world.examples
        assert worlds.examples(Domain("ffhq", world.neutral)) is world.examples  # about the same things
    asked = worlds.examples(Domain("lsunchurch", "church"))
    assert asked.edits[0] == asked.wordings[0]
    assert all("church" in prompt for prompt in (*asked.first, *asked.wordings, *sum(asked.pairs, ())))
    Domain("lsunchurch", "church").write(tmp_path)
    assert worlds.stand_in(tmp_path, "pets") == "pets"
    assert f"{tmp_path} is drawn by no world of ours" in capsys.readouterr().out
    Domain("mine", world="pets").write(tmp_path)
    assert worlds.stand_in(tmp_path, "portraits") == tmp_path


def test_other_worlds_are_refused():
    with pytest.raises(ValueError, match="no world 'unicorns': choose .*'portraits'"):
        worlds.named("unicorns")
    with pytest.raises(ValueError, match="'mine' is drawn by no world of ours"):
        worlds.of(Domain("mine"))
    with pytest.raises(ValueError, match="no world 'unicorns'"):
        worlds.of(Domain("mine", world="unicorns"))


@each_world
def test_a_table_makes_sense(world):
    assert len(set(world.table.names)) == len(world.table.names)
    assert world.table.z_used <= MINIATURE.z_dim
    for a in world.table.attributes:
        assert all(phrase == phrase.strip().lower() and phrase for phrase in phrases(a)), a.name
        assert a.form in ("with", "after", "adjective", *(("noun",) if isinstance(a, Choice) else ())), a.name
        if isinstance(a, Binary):
            assert 0 < a.p < 1
            assert a.yes, a.name
        elif isinstance(a, Choice):
            assert list(a.words) == list(a.options), a.name
            assert all(a.words.values()), a.name
            assert set(a.adjectives) <= set(a.options), a.name
            assert set(world.palette.get(a.name, a.options)) == set(a.options), a.name
        else:
            assert sum(weight for weight, _, _ in a.bands) == pytest.approx(1), a.name
            bands = sorted((low, high) for _, low, high in a.bands)
            assert all(low < high for low, high in bands)
            assert all(one[1] <= two[0] for one, two in pairwise(bands)), a.name
            assert a.range[0] < a.ends[0] < a.ends[1] < a.range[1], a.name
    assert len([a for a in world.table.attributes if phrases(a)]) >= 15


@each_world
def test_no_phrase_means_two_things(world):
    said = [phrase for a in world.table.attributes for phrase in set(phrases(a))]
    assert len(set(said)) == len(said), sorted(p for p in set(said) if said.count(p) > 1)


@each_world
def test_what_is_asked_of_a_world_has_words(world):
    prompts = [goal.prompt for goal in world.goals]
    assert len(set(prompts)) == len(prompts)
    assert len(prompts) == 24
    assert sum(bool(goal.paraphrase) for goal in world.goals) == 8
    assert set(world.coarse) <= {*world.table.binary, *world.table.choice}
    assert len(set(world.kept)) >= 5
    assert set(world.kept) <= {*world.table.scale, *world.table.choice}
    assert all(template.count("{}") == 1 for template in world.templates)


@each_world
def test_examples_are_canonical_prompts_and_goals(world):
    known, examples = {goal.prompt for goal in world.goals}, world.examples
    canonical = {
        world.prompt(a.name, value)
        for a in world.table.attributes
        if phrases(a) and not isinstance(a, Scale)
        for value in (a.options if isinstance(a, Choice) else (True, False))
    } | known
    for prompts in (examples.first, examples.two_way, examples.channels, examples.learned, examples.edits):
        assert set(prompts) <= canonical
        assert len(set(prompts)) == len(prompts)
    assert len(examples.first) == 9  # two rows of five, with the picture as drawn
    assert len(examples.edits) >= 3
    assert {prompt for pair in examples.pairs for prompt in pair} <= known
    for name in examples.removable:
        a = world.table.attribute(name)
        assert isinstance(a, Binary)
        assert a.form == "with"
        assert world.prompt(name, True) in known
    words = set(re.findall(r"\w+", " ".join(world.captions(draw(world, 3000), random.Random(0), 99, 99))))
    assert examples.wordings[0] == examples.edits[0]
    assert set(" ".join((examples.wordings[0], *examples.recognised)).split()) <= words
    assert not set(examples.wordings[-1].split()) <= words


def test_examples_of_real_faces_are_prompts_that_their_judge_has_goals_for():
    faces, examples = Domain("faces", align=True), worlds.examples(Domain("faces", align=True))
    known = {ask[0] for ask in ASKS}
    assert examples is not worlds.examples(Domain("portraits", world="portraits"))
    assert len(examples.first) == 9
    assert examples.wordings[0] == examples.edits[0]
    assert {prompt for pair in examples.pairs for prompt in pair} <= known
    assert len({*examples.first, *examples.edits} - known) <= 1  # a beard is asked of men
    assert 0 in examples.degrees
    assert set(examples.edits) <= set(worlds.prompts(faces))


def pairs_of_words(text: str) -> set[tuple[str, str]]:
    return set(pairwise(re.findall(r"[\w-]+", text)))


def pairs_in_captions(world) -> set[tuple[str, str]]:
    """Which word may follow which in a caption, and more: in each phrase, and of any phrase after any other."""
    said = [phrase for a in world.table.attributes for phrase in phrases(a)]
    said += [phrase for name in world.table.binary for phrase, _ in negations(world.table.attribute(name))]
    merged = [p.removesuffix(f" {noun}") for p in said for noun in world.merge]  # «long hair», «long red hair»
    nouns = sorted({noun for row in draw(world, 200) for noun in world.called(row)})
    leads = [lead.split() for lead in world.leads if lead]
    starts = {p.split()[0] for p in (*said, *nouns)} | {"with", "and", "who"}
    ends = {p.split()[-1] for p in (*said, *merged, *nouns)} | {"with", "and", "is"} | {lead[-1] for lead in leads}
    inside = [pair for p in (*said, *map(" ".join, leads)) for pair in pairs_of_words(p)]
    follows = {("who", "is"), *inside, *((one, two) for one in ends for two in starts)}
    return follows | {tuple("an" if word == "a" else word for word in pair) for pair in follows}


@each_world
def test_paraphrases_are_of_words_that_captions_know_and_have_in_no_such_order(world):
    texts = world.captions(draw(world, 4000), random.Random(0), 3, 99)
    words = {word for text in texts for word in re.findall(r"[\w-]+", text)}
    possible = pairs_in_captions(world)
    assert {pair for text in texts for pair in pairs_of_words(text)} <= possible
    clip = ClipEncoder.load(Path(worlds.__file__).parent / world.name / "weights" / CLIP)
    for goal in world.goals:
        assert set(goal.prompt.split()) <= words, goal.prompt
        assert not clip.unknown_words([goal.prompt])
        if goal.paraphrase:
            assert not pairs_of_words(goal.paraphrase) <= possible, goal.paraphrase
            assert not any(goal.paraphrase in text for text in texts)


# The table.


@each_world
def test_frequencies_are_those_of_the_table(world):
    """Before what excludes each other is resolved."""
    free = Table(world.table.attributes)
    factors = free.sample(20_000, torch.Generator().manual_seed(0))
    for a in free.attributes:
        v = free.column(factors, a.name)
        if isinstance(a, Binary):
            assert v.mean().item() == pytest.approx(a.p, abs=0.015), a.name
        elif isinstance(a, Choice):
            weights = torch.tensor(list(a.options.values()), dtype=torch.float)
            assert (v.long().bincount() / len(v) - weights / weights.sum()).abs().max() < 0.015
        else:
            for weight, low, high in a.bands:
                assert ((v >= low) & (v <= high)).float().mean().item() == pytest.approx(weight, abs=0.015), a.name


@each_world
def test_resolving_twice_changes_nothing_more(world):
    table, factors = world.table, draw(world, 5000)
    for name, column in table.resolve(table.columns(factors)).items():
        assert torch.equal(column, table.column(factors, name)), name


def test_what_excludes_each_other_is_resolved():
    world = worlds.named("portraits")
    factors, column = draw(world, 5000), world.table.column
    assert not (column(factors, "glasses") * column(factors, "sunglasses")).any()
    bald = column(factors, "bald") == 1
    for name in ("bangs", "curly_hair", "long_hair"):
        assert not column(factors, name)[bald].any()
        assert not column(world.visible(factors), name)[bald].any()


def test_a_scale_is_the_inverse_of_its_distribution():
    table = Table((Scale("age", ((0.25, 0.0, 0.2), (0.75, 0.4, 1.0))),))
    age = table.column(table.from_uniform(torch.linspace(0, 1, 101)[:, None]), "age")
    assert (age.diff() >= 0).all()
    assert age[[0, 50, 100]].tolist() == pytest.approx([0, 0.6, 1])


@each_world
def test_latents_stand_for_pictures_whatever_their_length(world):
    z = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(world.factors_from_z(z), world.factors_from_z(z * 3), atol=1e-4)
    with pytest.raises(ValueError, match="or more"):
        world.factors_from_z(torch.randn(2, 5))


@each_world
def test_latents_and_uniform_numbers_give_the_same_pictures(world):
    z = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1))
    by_z, by_u = world.factors_from_z(z), draw(world, 20_000)
    assert torch.allclose(by_z.mean(0), by_u.mean(0), atol=0.05)
    assert torch.allclose(by_z.std(0), by_u.std(0), atol=0.05)


@each_world
def test_a_graft_changes_one_attribute_and_what_excludes_it(world):
    table, z = world.table, torch.randn(2, 400, 64, generator=torch.Generator().manual_seed(3))
    before, donors = world.factors_from_z(z[0]), world.factors_from_z(z[1])
    for name in (table.binary[0], table.choice[0], table.scale[0], world.kept[-1]):
        after = world.factors_from_z(table.graft(z[0], 2 * z[1], name))
        came = (table.column(after, name) - table.column(donors, name)).abs() < 0.05
        assert came.float().mean() > 0.97, name
        for other in {*table.names} - {name, *table.resolve(table.columns(before))}:
            same = (table.column(after, other) - table.column(before, other)).abs() < 0.05
            assert same.float().mean() > 0.97, other
    with pytest.raises(ValueError, match="no attribute 'wings'"):
        table.graft(z[0], z[1], "wings")


def test_an_unknown_attribute_is_named():
    with pytest.raises(ValueError, match=r"no attribute 'nose'.*nose_size"):
        worlds.named("portraits").table.attribute("nose")


# The painter.


@each_world
@pytest.mark.parametrize("resolution", [16, 64, 96])
def test_pictures_of_any_resolution(world, resolution):
    image = world.render(draw(world, 3), resolution)
    assert image.shape == (3, 3, resolution, resolution)
    assert image.min() >= -1
    assert image.max() <= 1
    assert torch.isfinite(image).all()


@each_world
def test_a_picture_does_not_depend_on_its_batch_nor_much_on_the_resolution(world):
    factors = draw(world, 4)
    together = world.render(factors, 64)
    assert torch.equal(together, world.render(factors, 64))
    assert torch.allclose(together[2:3], world.render(factors[2:3], 64), atol=1e-5)
    assert (F.avg_pool2d(world.render(factors, 256), 4) - together).abs().mean() < 0.04


@each_world
def test_the_painter_is_differentiable_in_every_continuous_factor(world):
    factors = draw(world, 48, seed=3).requires_grad_()
    weights = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1))
    (world.render(factors, 32) * weights).sum().backward()
    assert torch.isfinite(factors.grad).all()
    for name in world.table.scale:
        assert world.table.column(factors.grad, name).abs().max() > 1e-3, name


@each_attribute
def test_every_attribute_is_unmistakable_at_64_px(world, name):
    """On a plain picture, where it can be seen, 5 by 5 pixels or more are clearly others; slightly, without a name."""
    a, factors = world.table.attribute(name), draw(world, 48)
    if isinstance(a, Scale):
        values = (a.range[0], sum(a.range) / 2, a.range[1])
    else:
        values = range(len(a.options) if isinstance(a, Choice) else 2)
    for base in (world.table.plain(factors[:6]), factors):
        switched = [world.table.replace(base, **{name: value}) for value in values]
        shown = torch.stack([world.table.column(world.visible(f), name) for f in switched]).all(0)
        if shown.any():
            break
    first, *others = (world.render(f[shown], 64) for f in switched)
    clear = 0.2 if phrases(a) else 0.05
    changed = torch.stack([((first - other).abs().amax(1) > clear).sum((1, 2)) for other in others]).float()
    if isinstance(a, Scale):  # which may come full circle, as a hue does
        changed = changed.amax(0, keepdim=True)
    assert (changed.median(1).values >= 25).all(), changed.tolist()


def test_wrong_factors_and_resolutions_are_refused():
    world = WORLDS[0]
    with pytest.raises(ValueError, match="Factors must have shape"):
        world.render(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="at least 1 pixel"):
        world.render(draw(world, 1), 0)


# The words.


@each_world
def test_captions_are_true(world):
    world, factors = replace(world, apart=()), draw(world, 300)
    for row, seen in zip(factors, world.visible(factors), strict=True):
        there, absent = facts(world, row, seen, random.Random(0))
        said = {phrase for phrase, _ in there.values()}
        for a, value, can_be_seen in zip(world.table.attributes, row.tolist(), seen.tolist(), strict=True):
            if isinstance(a, Binary):
                assert bool(said & set(a.yes)) == (value == 1 and can_be_seen), a.name
                assert not (value == 1 and set(absent.values()) & set(negations(a))), a.name
            elif isinstance(a, Choice):
                others = {phrase for k, option in enumerate(a.options) if k != value for phrase, _ in a.facts(option)}
                assert not said & others
            else:
                assert not (value > a.ends[0] and said & set(a.low)), a.name
                assert not (value < a.ends[1] and said & set(a.high)), a.name


@each_world
def test_captions_tell_what_is_known_of_someone_but_covered(world):
    factors = draw(world, 300)
    covered = ~world.visible(factors)
    for name in world.known:
        column = world.table.index[name]
        rows = factors[covered[:, column]]
        assert len(rows), f"nothing ever covers {name}"
        told = " ".join(world.captions(rows, random.Random(0), 99, 99, 0.0))
        assert any(phrase in told for phrase in phrases(world.table.attribute(name))), name
    unknown = [column for name, column in world.table.index.items() if name not in world.known]
    assert (world.told(factors) == world.visible(factors))[:, unknown].all()


@each_world
def test_captions_of_a_store_are_of_its_pictures(world):
    read = []

    class Reader:
        def encode_text(self, texts):
            read.extend(texts)
            return torch.arange(len(read) - len(texts), len(read)).float()[:, None].expand(-1, 3)

    store = FeatureStore(Path(), SHARD + 5, {"seed": 2, "truncation": 1.0})
    features = captions.caption_features(world, store, Reader(), z_dim=64, seed=9, batch_size=400)
    assert torch.equal(features, torch.arange(SHARD + 5.0)[:, None].expand(-1, 3))
    z = torch.cat([shard_latents(2, 0, 64), shard_latents(2, 1, 64)[:5]])
    assert read == world.captions(world.factors_from_z(z), random.Random(9))
    for other in (replace(store, pictures=(1,)), replace(store, manifest={"seed": 2, "truncation": 0.7})):
        with pytest.raises(ValueError, match="of samples without truncation only. Got"):
            captions.caption_features(world, other, Reader(), z_dim=64)


@each_world
def test_retrieval_finds_each_captions_own_picture(world):
    factors = draw(world, 40)
    told = world.captions(factors, random.Random(3), at_least=3, at_most=5)
    assert len(set(told)) == 40

    class Reader:
        """Tells every caption, and every picture by its first pixel, from all others."""

        device = "cpu"

        def encode_text(self, texts):
            return torch.eye(40)[[told.index(text) for text in texts]]

        def encode_image(self, image):
            return torch.eye(40)[image[:, 0, 0, 0].long()]

    image = torch.arange(40.0)[:, None, None, None].expand(-1, 3, 2, 2)
    assert evaluate.retrieval(world, Reader(), image, factors, seed=3) == 1
    assert evaluate.retrieval(world, Reader(), image.roll(10, 0), factors, seed=3) == 0
    with pytest.raises(ValueError, match="needs 2 pictures or more.* Got 1"):
        evaluate.retrieval(world, Reader(), image[:1], factors[:1])


@each_world
def test_captions_vary_and_repeat_with_their_seed(world):
    factors = draw(world, 200)
    first = world.captions(factors, random.Random(5))
    assert first == world.captions(factors, random.Random(5))
    assert first != world.captions(factors, random.Random(6))
    assert len(set(first)) > 190
    assert all(text and text == text.strip() and "  " not in text for text in first)
    assert max(len(text.split()) for text in world.captions(factors, random.Random(1), at_most=2)) < 20


@each_world
def test_the_grammar_has_negations_and_partial_descriptions(world):
    texts = world.captions(draw(world, 500), random.Random(0))
    assert any(" no " in text for text in texts)
    assert any("without" in text for text in texts)
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) <= 3
    assert max(lengths) >= 15


@each_world
def test_what_is_kept_apart_is_independent_and_told_by_no_noun(world):
    table, factors = world.table, draw(world, 20_000)
    names = [name for pair in world.apart for name, _ in pair]
    assert len(world.apart) == 6
    assert len(set(names)) == len(names)
    for pair in world.apart:
        one, two = (Goal(world, *value).reached(factors).float() for value in pair)
        assert (one * two).mean().item() == pytest.approx((one.mean() * two.mean()).item(), abs=0.01)
        assert sum(" no " in Goal(world, *value).opposite.prompt for value in pair) <= 1
        for name in dict(pair):
            switched = table.replace(factors[:100], **{name: 0.0}), table.replace(factors[:100], **{name: 1.0})
            assert all(world.called(off) == world.called(on) for off, on in zip(*switched, strict=True)), name


@each_world
def test_captions_never_name_together_what_is_kept_apart(world):
    """Nor does any other caption change."""
    free = replace(world, apart=())
    factors, met = draw(world, 400), 0
    seen, together = world.told(factors), world.together(factors)
    assert not free.together(factors).any()
    for k, (row, visible) in enumerate(zip(factors, seen, strict=True)):
        both = [
            pair
            for pair in world.apart
            if all(
                visible[world.table.index[name]] and Goal(world, name, value).reached(row[None]) for name, value in pair
            )
        ]
        said = {phrase for phrase, _ in captions.told(world, row, visible, random.Random(k), 99, 99, 0.0)}
        for pair in both:
            named = [bool(said & set(dict(captions.phrases(world, *value)))) for value in pair]
            assert sum(named) <= 1, pair
            met += sum(named)
        assert bool(together[k]) == bool(both)
        if not both:
            assert world.captions(row[None], random.Random(k)) == free.captions(row[None], random.Random(k))
    assert met > 30


@each_world
def test_to_name_one_of_a_pair_says_nothing_of_the_other(world):
    factors = draw(world, 6000)
    seen, rng = world.visible(factors), random.Random(0)
    told = [set(captions.told(world, row, can, rng, 3, 6, 0.0)) for row, can in zip(factors, seen, strict=True)]
    for pair in world.apart:
        there = [Goal(world, *value).reached(factors) & world.table.column(seen, value[0]) for value in pair]
        for k in (0, 1):
            named = torch.tensor([bool(said & set(captions.phrases(world, *pair[k]))) for said in told])
            alone, both = (named[there[k] & other].float().mean().item() for other in (~there[1 - k], there[1 - k]))
            assert both == pytest.approx(alone, rel=0.25), pair[k]


@each_world
def test_opposites_are_other_values_and_come_back(world):
    factors = draw(world, 200)
    for goal in world.goals:
        other = goal.opposite
        assert not (goal.reached(factors) & other.reached(factors)).any()
        assert other.reached(factors).any()
        if not isinstance(world.table.attribute(goal.name), Choice):
            assert other.opposite.value == goal.value


@each_world
def test_all_that_captions_tell_can_be_asked(world):
    domain = Domain(world=world.name)
    asked = worlds.prompts(domain)
    assert len(set(asked)) == len(asked)
    assert set(world.prompts) <= set(asked)
    assert {goal.canonical for goal in world.goals} == set(asked[: len({goal.canonical for goal in world.goals})])
    assert worlds.prompts(Domain(neutral="church"))


def test_canonical_prompts():
    world = worlds.named("portraits")
    assert world.prompt("glasses", True) == "face with glasses"
    assert world.prompt("glasses", False) == "face with no glasses"
    assert world.prompt("bald", True) == "bald face"
    assert world.prompt("age", "high") == "old face"
    assert world.prompt("eye_color", "blue") == "face with blue eyes"
    assert world.prompt("yaw", "low") == "face looking left"
    assert captions.prompt(world, ("glasses", True), ("hat", True)) == "face with glasses and a hat"
    assert captions.prompt(world, ("beard", True), ("smile", "high")) == "smiling face with a beard"
    assert captions.prompt(world, ("yaw", "low"), ("skin", "high")) == "dark skinned face looking left"
    pets = worlds.named("pets")
    assert captions.prompt(pets, ("species", "dog"), ("age", "low"), ("hat", True)) == "young dog with a hat"
    assert pets.prompt("fur_color", "black") == "pet with black fur"
    for name, value in (("jaw", "high"), ("eye_color", "pink")):
        with pytest.raises(ValueError, match="No words"):
            world.prompt(name, value)


def test_nouns_may_depend_on_the_picture():
    kind = Choice("kind", {"cat": 1, "dog": 1}, {"cat": ("cat",), "dog": ("dog",)}, form="noun")
    table = Table((kind, Binary("tongue", 0.5, ("sticking out the tongue",), form="after")))
    world = replace(worlds.named("portraits"), table=table, nouns=lambda v: ("dog" if v["kind"] else "cat", "animal"))
    assert world.prompt("kind", "dog") == "dog"
    assert world.prompt("tongue", True) == "face sticking out the tongue"
    assert world.prompt("tongue", False) == "face not sticking out the tongue"
    dogs = world.captions(torch.ones(60, 2), random.Random(0), at_least=1, at_most=1, negation=0.0)
    assert not any("cat" in text for text in dogs)
    assert {"dog", "animal"} <= set(" ".join(dogs).split())
    assert any(re.fullmatch("a dog sticking out the tongue", text) for text in dogs)


def test_an_option_may_stand_before_the_noun():
    pets = worlds.named("pets")
    black = pets.table.replace(draw(pets, 300), species=0.0, fur_color=list(pets.palette["fur_color"]).index("black"))
    texts = pets.captions(black, random.Random(0), 1, 2, negation=0.0)
    assert any(re.search(r"\bblack cat\b", text) for text in texts)
    assert any(re.search(r"\bblack fur\b", text) for text in texts)


# The pool.


@each_world
def test_a_pool_is_painted_once_and_goes_on_after_a_kill(world, tmp_path):
    pool = open_pool(world, tmp_path, 128, resolution=16, z_dim=64, seed=4)
    assert pool.images(torch.tensor([0, 127])).shape == (2, 3, 16, 16)
    assert torch.allclose(pool.images(torch.arange(8)), world.render(pool.factors[:8], 16), atol=0.5 / 127)
    (file,) = tmp_path.glob(f"{world.name}-*.bin")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2 + 100])  # cut within a block
    again = open_pool(world, tmp_path, 128, resolution=16, z_dim=64, seed=4)
    assert file.read_bytes() == whole
    assert torch.equal(again.pictures, pool.pictures)


def test_two_runs_that_start_together_paint_a_pool_once(tmp_path):
    places = [tmp_path / "alone", tmp_path / "both", tmp_path / "both"]
    with ThreadPoolExecutor(3) as threads:
        alone, *both = threads.map(lambda place: open_pool(WORLDS[0], place, 256, 16, z_dim=64, seed=4), places)
    assert all(torch.equal(pool.pictures, alone.pictures) for pool in both)
    (file,) = places[1].glob("*.bin")
    assert file.stat().st_size == alone.pictures.numel()


def test_more_latents_begin_with_the_same_ones():
    assert torch.equal(latents(200, 40, 1)[:70], latents(70, 40, 1))
    assert not torch.equal(latents(70, 40, 1), latents(70, 40, 2))
