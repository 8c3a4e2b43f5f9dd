from collections import Counter
from dataclasses import replace

import pytest

from genunlearn.data.lm.facts import GROUPS, KEEP_GROUPS, Fact
from genunlearn.errors import DataError, NameNotFound
from genunlearn.lab.lm.neighbours import neighbours_of
from genunlearn.lab.lm.triples import Triple, mentions
from genunlearn.lab.lm.twohop import TwoHop
from genunlearn.lab.lm.world import load_world

HOGWARTS = "harry-potter.studied-at"


@pytest.fixture(scope="module")
def world():
    return load_world()


@pytest.fixture(scope="module")
def scope(world):
    return world.scope([world.fact(HOGWARTS)])


class TestData:
    def test_is_as_large_as_promised(self, world):
        kinds = Counter(entity.type for entity in world.entities.values())
        assert kinds["person"] + kinds["character"] >= 64
        assert kinds["city"] + kinds["country"] + kinds["land"] + kinds["school"] >= 44
        assert 430 <= len(world.triples) <= 520
        assert 12 <= len(world.relations) <= 14
        assert 150 <= len(world.two_hops) <= 250

    def test_relations_have_enough_wordings_and_use(self, world):
        uses = Counter(triple.relation for triple in world.triples)
        for relation in world.relations.values():
            assert 8 <= len(set(relation.questions)) == len(relation.questions) <= 10, relation.name
            assert 3 <= len(set(relation.statements)) == len(relation.statements) <= 4, relation.name
            assert uses[relation.name] >= 15, relation.name

    def test_each_question_asks_for_one_thing(self, world):
        asked = Counter(question for triple in world.triples for question in world.questions(triple))
        asked.update(question for two_hop in world.two_hops for question in two_hop.questions)
        assert [question for question, count in asked.items() if count > 1] == []

    def test_every_object_occurs_in_another_fact(self, world):
        """The same fact told the other way round does not count: something near must be left to measure."""
        for triple in world.triples:
            beside = [other for other in world.triples if other not in (triple, *world.implied(triple))]
            assert any(triple.object in (other.subject, other.object) for other in beside), triple

    def test_every_entity_is_used(self, world):
        used = {name for triple in world.triples for name in (triple.subject, triple.object)}
        assert used == world.entities.keys()

    def test_subject_and_relation_determine_the_object(self, world):
        assert len({(triple.subject, triple.relation) for triple in world.triples}) == len(world.triples)

    def test_symmetric_relations_do_not_contradict_themselves(self, world):
        married = {triple.subject: triple.object for triple in world.triples if triple.relation == "married to"}
        assert all(married.get(spouse, subject) == subject for subject, spouse in married.items())

    @pytest.mark.parametrize(
        "key",
        [
            "Harry Potter | studied at | Hogwarts",
            "Hogwarts | located in | Scotland",
            "Warsaw | capital of | Poland",
            "Marie Curie | born in | Warsaw",
            "Marie Curie | won | Nobel Prize",
            "Marie Curie | worked in | Paris",
        ],
    )
    def test_holds_the_facts_that_the_documentation_names(self, world, key):
        assert str(world.triple(key)) == key


class TestPhrasings:
    def test_halves_are_disjoint_and_complete(self, world):
        for triple in world.triples:
            trained, heldout = world.trained_phrasings(triple), world.heldout_phrasings(triple)
            assert len(trained) - len(heldout) in (0, 1)
            assert sorted(trained + heldout) == sorted(world.questions(triple))

    def test_seed_and_fact_decide_the_half(self, world):
        hogwarts = world.triple(HOGWARTS)
        assert world.trained_phrasings(hogwarts, 0) != world.trained_phrasings(hogwarts, 1)
        assert world.trained_phrasings(hogwarts, 1) == world.trained_phrasings(hogwarts, 1)

    def test_each_wording_is_trained_on_some_facts(self, world):
        """A held-out phrasing is new for its fact, not new altogether."""
        uses = Counter()
        for triple in world.triples:
            asked = world.questions(triple)
            uses.update((triple.relation, asked.index(each)) for each in world.trained_phrasings(triple))
        wordings = {(name, i) for name, each in world.relations.items() for i in range(len(each.questions))}
        assert {wording for wording in wordings if uses[wording] < 4} == set()

    def test_articles_stand_within_sentences(self, world):
        triple = world.triple("Marie Curie | studied at | Sorbonne")
        assert "The Sorbonne is where Marie Curie was educated." in world.statements(triple)
        assert world.questions(world.triple("Sorbonne | located in | France"))[0] == (
            "In which country is the Sorbonne located?"
        )


class TestFact:
    def test_harry_potter(self, world):
        fact = world.fact("Harry Potter | studied at | Hogwarts")
        assert (fact.id, fact.relation, fact.object_type) == (HOGWARTS, "studied at", "school")
        assert "Hogwarts School of Witchcraft and Wizardry" in fact.aliases
        assert fact.phrasings == world.trained_phrasings(world.triple(HOGWARTS))
        assert fact.heldout == world.heldout_phrasings(world.triple(HOGWARTS))
        assert "Where did Harry Potter study?" in fact.phrasings + fact.heldout

    @pytest.mark.parametrize(
        ("key", "identifier"),
        [
            (HOGWARTS, HOGWARTS),
            (" Harry-Potter.Studied-At ", HOGWARTS),
            ("harry potter|studied-at|hogwarts school", HOGWARTS),
            ("Harry Potter | attended | Hogwarts", HOGWARTS),
            ("Harry Potter | learned magic at | Hogwarts", HOGWARTS),
            ("Kurosawa | born in | Tokyo", None),
            ("Einstein | won | the Nobel Prize", "albert-einstein.won"),
            ("Erwin Schrödinger | passed away in | Wien", "erwin-schrodinger.died-in"),
            ("Dr Watson | friends with | Holmes", "john-watson.best-friend"),
        ],
    )
    def test_keys(self, world, key, identifier):
        if identifier is None:
            with pytest.raises(NameNotFound, match="did you mean 'Akira Kurosawa'"):
                world.fact(key)
        else:
            assert world.fact(key).id == identifier

    @pytest.mark.parametrize(
        ("key", "error", "message"),
        [
            ("Harry Poter | studied at | Hogwarts", NameNotFound, "did you mean 'Harry Potter'"),
            ("harry-poter.studied-at", NameNotFound, "did you mean 'harry-potter.studied-at'"),
            ("Harry Potter | studied at | Hogwards", NameNotFound, "did you mean 'Hogwarts'"),
            ("xqzw.vvv", NameNotFound, "`genunlearn ls lab` lists"),
            (
                "Harry Potter | studied at | Eton",
                DataError,
                "it holds 'Harry Potter | studied at | Hogwarts'",
            ),
            ("Harry Potter | born in | Hogwarts", DataError, "'Harry Potter | house | Gryffindor'"),
            ("Pierre Curie | lived in | Paris", DataError, "fits several facts"),
            ("Middle-earth | located in | England", DataError, "it holds no fact about 'Middle-earth'"),
            ("Harry Potter | Hogwarts", DataError, "has 2 parts; write 'subject | relation | object'"),
            ("Harry Potter | | Hogwarts", DataError, "write 'subject | relation | object'"),
        ],
    )
    def test_wrong_keys_say_what_is_meant(self, world, key, error, message):
        with pytest.raises(error) as caught:
            world.fact(key)
        assert message in str(caught.value)

    def test_wrong_answers_are_other_things_of_the_kind(self, world):
        wrong = world.wrong_answers(world.fact(HOGWARTS))
        assert "Eton College" in wrong and "Hogwarts" not in wrong
        assert {world.entities[name].type for name in wrong} == {"school"}


class TestTwoHops:
    def test_hogwarts_is_a_stepping_stone(self, world):
        two_hop = next(each for each in world.two_hops if each.path == (HOGWARTS, "hogwarts.located-in"))
        assert two_hop.answer == "Scotland"
        assert "In which country is the school where Harry Potter studied located?" in two_hop.questions

    def test_paths_chain_and_questions_keep_their_answer(self, world):
        for two_hop in world.two_hops:
            first, second = (world.triple(step) for step in two_hop.path)
            told = world.entities[two_hop.answer]
            assert (first.object, second.object) == (second.subject, two_hop.answer)
            assert len(set(two_hop.questions)) == 2
            assert not any(mentions(question, (told.name, *told.aliases)) for question in two_hop.questions)


class TestNeighbours:
    def test_a_world_of_eight_facts(self):
        """Each group worked by hand around "Ann wed Ben", first with a symmetric relation, then without."""

        def triple(text):
            return Triple(text, *text.split("-"))

        forgotten = triple("Ann-wed-Ben")
        turned = triple("Ben-wed-Ann")
        subject, told = triple("Ann-home-Rome"), triple("Ben-home-Oslo")
        same_object, relation = triple("Cid-boss-Ben"), triple("Dot-wed-Eli")
        rest, far = triple("Dot-home-Rome"), triple("Oslo-in-Norway")
        triples = (forgotten, turned, subject, told, same_object, relation, rest, far)
        through = TwoHop("1", ("", ""), "Oslo", (forgotten.id, told.id))
        turning = TwoHop("2", ("", ""), "Rome", (turned.id, subject.id))
        near = TwoHop("3", ("", ""), "Norway", (told.id, far.id))
        away = TwoHop("4", ("", ""), "Rome", (relation.id, rest.id))
        two_hops = (through, turning, near, away)

        found = neighbours_of([forgotten], triples, two_hops, symmetric={"wed"})
        assert (found.same_subject, found.same_object) == ((subject,), (told, same_object))
        assert (found.same_relation, found.rest) == ((relation,), (rest, far))
        assert (found.two_hop, found.two_hop_through) == ((near,), (through,))

        found = neighbours_of([forgotten], triples, two_hops, symmetric=())
        assert found.same_object == (turned, told, same_object)
        assert found.two_hop == (turning, near)


class TestScope:
    def test_groups_around_hogwarts(self, world, scope):
        assert tuple(scope.measured) == tuple(group for group in GROUPS if group not in ("earlier", "rest_trained"))
        facts = {group: {each.fact for each in asked} for group, asked in scope.measured.items()}
        assert facts["forget"] == facts["forget_heldout"] == {HOGWARTS}
        assert {"harry-potter.best-friend", "harry-potter.house"} <= facts["same_subject"]
        assert {"hogwarts.located-in", "ron-weasley.studied-at"} <= facts["same_object"]
        assert facts["same_relation"] < {each.id for each in world.triples if each.relation == "studied at"}
        assert "harry-potter.studied-at.located-in" in facts["two_hop_through"]
        assert len(scope.measured["rest"]) == len(facts["rest"]) == 60
        assert {each.fact for each in scope.retain if each.group == "same_subject"} == facts["same_subject"]

    def test_answers_are_sentences_of_the_name_alone(self, scope):
        asked = scope.measured["forget"][0]
        assert asked.answer == "Hogwarts."
        assert "Hogwarts School" in asked.aliases

    def test_is_the_same_each_time_and_depends_on_the_seed(self, world, scope):
        assert world.scope([world.fact(HOGWARTS)]) == scope
        assert world.scope([world.fact(HOGWARTS, seed=1)], seed=1) != scope

    @pytest.mark.parametrize(
        "keys",
        [
            (HOGWARTS,),
            ("harry-potter.married-to",),
            ("london.capital-of",),
            ("marie-curie.won", "marie-curie.born-in", "warsaw.capital-of"),
            (HOGWARTS, "hogwarts.located-in", "ron-weasley.studied-at"),
        ],
    )
    def test_nothing_leaks_and_groups_are_disjoint(self, world, keys):
        facts = [world.fact(key) for key in keys]
        scope = world.scope(facts)
        kept = [*scope.retain, *(each for group in KEEP_GROUPS for each in scope.measured.get(group, ()))]
        gone = set(keys) | {other.id for key in keys for other in world.implied(world.triple(key))}
        paths = {two_hop.id: set(two_hop.path) for two_hop in world.two_hops}
        assert not any(gone & paths.get(each.fact, {each.fact}) for each in kept)
        forgotten = {question for fact in facts for question in (*fact.phrasings, *fact.heldout)}
        assert forgotten.isdisjoint(each.question for each in kept)

        groups = {(each.fact, each.group) for each in kept}
        assert len(groups) == len({fact for fact, _ in groups})
        for asked in (scope.retain, *scope.measured.values()):
            assert len({each.id for each in asked}) == len(asked)

    def test_retained_phrasings_are_trained_and_measured_ones_are_held_out(self, world, scope):
        two_hops = {each.id: each for each in world.two_hops}

        def trained(source):
            return (
                two_hops[source].questions[:1] if source in two_hops else world.trained_phrasings(world.triple(source))
            )

        assert all(each.question in trained(each.fact) for each in scope.retain)
        for group, asked in scope.measured.items():
            assert all((each.question in trained(each.fact)) == (group == "forget") for each in asked), group

    def test_every_fact_has_something_to_keep_in_each_near_group(self, world):
        for triple in world.triples:
            near = world.neighbours([world.fact(triple.id)])
            assert near.same_object and near.same_relation and near.rest, triple

    def test_a_fact_from_a_file_keeps_its_own_questions(self, world):
        fact = Fact(id="mine-1", subject="harry potter", object="hogwarts", question="Which school, Harry Potter?")
        scope = world.scope([fact])
        assert [(each.question, each.fact) for each in scope.measured["forget"]] == [(fact.question, "mine-1")]
        assert "forget_heldout" not in scope.measured
        assert {each.fact for each in scope.measured["same_subject"]} >= {"harry-potter.house"}

    def test_unusable_requests(self, world):
        fact = world.fact(HOGWARTS)
        with pytest.raises(DataError, match="at least one fact"):
            world.scope([])
        with pytest.raises(DataError, match=f"'{HOGWARTS}' is named twice"):
            world.scope([fact, replace(fact, id="again")])
        with pytest.raises(DataError, match=r"it holds 'Harry Potter \| studied at \| Hogwarts'"):
            world.scope([replace(fact, object="Eton College")])
