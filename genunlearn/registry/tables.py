"""Every other name of the package, and where it is found: by table, and within it by family of models."""

from __future__ import annotations

from genunlearn.registry.methods import GENERATORS, LEARNERS, METHODS, VALUATIONS
from genunlearn.registry.table import Table

LAB = "lab:"
"""What the source of an embedded model begins with: ``lab:lm`` stands for the line ``lm`` of `LABS`."""

METRICS = Table(
    "metric",
    {
        "lm": {
            "recall": "genunlearn.evaluation.lm.metrics:Recall",
            "thought_recall": "genunlearn.evaluation.lm.metrics:ThoughtRecall",
            "judged_recall": "genunlearn.evaluation.lm.metrics:JudgedRecall",
            "judge_agreement": "genunlearn.evaluation.lm.metrics:JudgeAgreement",
            "leak_rate": "genunlearn.evaluation.lm.metrics:LeakRate",
            "thought_leak_rate": "genunlearn.evaluation.lm.metrics:ThoughtLeakRate",
            "truth_probability": "genunlearn.evaluation.lm.metrics:TruthProbability",
            "extraction_strength": "genunlearn.evaluation.lm.metrics:ExtractionStrength",
            "perplexity": "genunlearn.evaluation.lm.metrics:Perplexity",
            "answer_probability": "genunlearn.evaluation.lm.benchmark_metrics:AnswerProbability",
            "option_probability": "genunlearn.evaluation.lm.benchmark_metrics:OptionProbability",
            "rouge1_recall": "genunlearn.evaluation.lm.benchmark_metrics:Rouge1Recall",
            "rougeL_recall": "genunlearn.evaluation.lm.benchmark_metrics:RougeLRecall",
            "truth_ratio_balance": "genunlearn.evaluation.lm.benchmark_metrics:TruthRatioBalance",
            "truth_ratio_margin": "genunlearn.evaluation.lm.benchmark_metrics:TruthRatioMargin",
            "truth_ratio_preference": "genunlearn.evaluation.lm.benchmark_metrics:TruthRatioPreference",
            "exact_memorisation": "genunlearn.evaluation.lm.benchmark_metrics:ExactMemorisation",
            "forget_quality": "genunlearn.evaluation.lm.benchmark_metrics:ForgetQuality",
            "model_utility": "genunlearn.evaluation.lm.benchmark_metrics:ModelUtility",
            "ngram_entropy": "genunlearn.evaluation.lm.benchmark_metrics:NgramEntropy",
            "repetition": "genunlearn.evaluation.lm.benchmark_metrics:Repetition",
            "unlearning_efficacy": "genunlearn.evaluation.lm.criteria:UnlearningEfficacy",
            "kept_utility": "genunlearn.evaluation.lm.criteria:KeptUtility",
            "response_quality": "genunlearn.evaluation.lm.criteria:ResponseQuality",
            "hallucination_avoidance": "genunlearn.evaluation.lm.criteria:HallucinationAvoidance",
            "adversarial_robustness": "genunlearn.evaluation.lm.criteria:AdversarialRobustness",
            "text_membership": "genunlearn.evaluation.lm.text_membership:TextMembership",
            "privleak": "genunlearn.evaluation.lm.text_membership:PrivLeak",
            "unlearning_depth": "genunlearn.evaluation.lm.depth:UnlearningDepth",
        },
        "diffusion": {
            "ua": "genunlearn.evaluation.diffusion.metrics:UnlearningAccuracy",
            "ira": "genunlearn.evaluation.diffusion.metrics:InDomainRetainAccuracy",
            "cra": "genunlearn.evaluation.diffusion.metrics:CrossDomainRetainAccuracy",
            "fid": "genunlearn.evaluation.diffusion.metrics:FrechetDistance",
            "kid": "genunlearn.evaluation.diffusion.metrics:KernelDistance",
            "crs": "genunlearn.evaluation.diffusion.concealment:CRS",
            "ccs": "genunlearn.evaluation.diffusion.concealment:CCS",
            "crs_signed": "genunlearn.evaluation.diffusion.concealment:SignedCRS",
            "ccs_controlled": "genunlearn.evaluation.diffusion.concealment:ControlledCCS",
            "domain_auc": "genunlearn.evaluation.diffusion.concealment:DomainAUC",
            "normalised_leak": "genunlearn.evaluation.diffusion.concealment:NormalisedLeak",
        },
        "network": {
            "accuracy": "genunlearn.evaluation.network.metrics:Accuracy",
            "mean_absolute_error": "genunlearn.evaluation.network.metrics:MeanAbsoluteError",
            "mean_squared_error": "genunlearn.evaluation.network.metrics:MeanSquaredError",
            "oracle_gap": "genunlearn.evaluation.network.metrics:OracleGap",
            "tow": "genunlearn.evaluation.network.metrics:ToW",
            "activation_distance": "genunlearn.evaluation.network.metrics:ActivationDistance",
            "wasserstein": "genunlearn.evaluation.network.metrics:Wasserstein",
            "zrf": "genunlearn.evaluation.network.metrics:ZRF",
            "zrf_authors": "genunlearn.evaluation.network.metrics:ZRFAuthors",
        },
        "graph": {
            "accuracy": "genunlearn.evaluation.graph.metrics:Accuracy",
            "auc": "genunlearn.evaluation.graph.metrics:TestAUC",
            "average_precision": "genunlearn.evaluation.graph.metrics:AveragePrecision",
            "df_auc": "genunlearn.evaluation.graph.metrics:DeletedAUC",
            "oracle_gap": "genunlearn.evaluation.graph.metrics:OracleGap",
            "consistency": "genunlearn.evaluation.graph.metrics:Consistency",
            "integrity": "genunlearn.evaluation.graph.metrics:Integrity",
            "membership_ratio": "genunlearn.evaluation.graph.metrics:MembershipRatio",
        },
        "recommender": {
            "recall": "genunlearn.evaluation.recommender.metrics:Recall",
            "ndcg": "genunlearn.evaluation.recommender.metrics:NDCG",
            "precision": "genunlearn.evaluation.recommender.metrics:Precision",
            "map": "genunlearn.evaluation.recommender.metrics:MeanAveragePrecision",
            "oracle_gap": "genunlearn.evaluation.recommender.metrics:OracleGap",
        },
    },
)
ATTACKS = Table(
    "attack",
    {
        "lm": {
            "sampling": "genunlearn.attacks.lm.sampling:Sampling",
            "paraphrase": "genunlearn.attacks.lm.paraphrase:Paraphrase",
            "prefix_forcing": "genunlearn.attacks.lm.prefix_forcing:PrefixForcing",
            "completion": "genunlearn.attacks.lm.completion:Completion",
            "few_shot": "genunlearn.attacks.lm.few_shot:FewShot",
            "multiple_choice": "genunlearn.attacks.lm.multiple_choice:MultipleChoice",
            "relearning": "genunlearn.attacks.lm.relearning:Relearning",
            "quantised_reload": "genunlearn.attacks.lm.quantised_reload:QuantisedReload",
            "lora_removal": "genunlearn.attacks.lm.lora_removal:LoraRemoval",
            "lora_scaling": "genunlearn.attacks.lm.lora_scaling:LoraScaling",
            "exposure": "genunlearn.attacks.lm.exposure:Exposure",
            "logit_lens": "genunlearn.attacks.lm.logit_lens:LogitLens",
            "linear_probe": "genunlearn.attacks.lm.linear_probe:LinearProbe",
            "membership": "genunlearn.attacks.lm.membership:Membership",
            "reference_membership": "genunlearn.attacks.lm.membership:ReferenceMembership",
            "soft_prompt": "genunlearn.attacks.lm.soft_prompt:SoftPrompt",
            "many_shot": "genunlearn.attacks.lm.many_shot:ManyShot",
            "reverse": "genunlearn.attacks.lm.other_questions:Reverse",
            "two_hop": "genunlearn.attacks.lm.other_questions:TwoHop",
            "other_languages": "genunlearn.attacks.lm.other_questions:OtherLanguages",
        },
        "diffusion": {
            "partial_diffusion": "genunlearn.attacks.diffusion.partial_diffusion:PartialDiffusion",
            "paraphrase": "genunlearn.attacks.diffusion.paraphrase:Paraphrase",
            "adversarial_embedding": "genunlearn.attacks.diffusion.adversarial_embedding:AdversarialEmbedding",
            "textual_inversion": "genunlearn.attacks.diffusion.textual_inversion:TextualInversion",
            "noise_probing": "genunlearn.attacks.diffusion.noise_probing:NoiseProbing",
            "concept_relearning": "genunlearn.attacks.diffusion.concept_relearning:ConceptRelearning",
            "unrelated_relearning": "genunlearn.attacks.diffusion.concept_relearning:UnrelatedRelearning",
            "unlearn_diff_atk": "genunlearn.attacks.diffusion.unlearn_diff_atk:UnlearnDiffAtk",
            "p4d": "genunlearn.attacks.diffusion.p4d:P4D",
            "ring_a_bell": "genunlearn.attacks.diffusion.ring_a_bell:RingABell",
            "inpainting": "genunlearn.attacks.diffusion.inpainting:Inpainting",
            "latent_guidance": "genunlearn.attacks.diffusion.latent_guidance:LatentGuidance",
            "quantised_reload": "genunlearn.attacks.diffusion.weight_reload:QuantisedReload",
            "lora_removal": "genunlearn.attacks.diffusion.weight_reload:LoraRemoval",
            "rule_removal": "genunlearn.attacks.diffusion.weight_reload:RuleRemoval",
        },
        "network": {
            "mia_entropy": "genunlearn.attacks.network.membership:EntropyMembership",
            "mia_loss": "genunlearn.attacks.network.membership:LossMembership",
            "mia_matched": "genunlearn.attacks.network.membership:MatchedMembership",
            "rmia": "genunlearn.attacks.network.membership:RMIA",
            "relearning": "genunlearn.attacks.network.relearning:RelearningCurve",
            "anamnesis_index": "genunlearn.attacks.network.anamnesis:AnamnesisIndex",
            "inversion_likeness": "genunlearn.attacks.network.inversion:ModelInversion",
            "mia_shadow": "genunlearn.attacks.network.shadow:ShadowMembership",
            "mia_conda": "genunlearn.attacks.network.conda:CondaMembership",
        },
        "graph": {
            "membership": "genunlearn.attacks.graph.membership:Membership",
            "relearning": "genunlearn.attacks.graph.relearning:Relearning",
            "link_stealing": "genunlearn.attacks.graph.link_stealing:LinkStealing",
        },
        "recommender": {
            "choice_membership": "genunlearn.attacks.recommender.membership:ChoiceMembership",
            "choice_relearning": "genunlearn.attacks.recommender.relearning:ChoiceRelearning",
        },
    },
)
DOMAINS = Table(
    "domain",
    {
        "lm": {"lm": "genunlearn.domains.lm.adapter:LanguageModel"},
        "diffusion": {"diffusion": "genunlearn.domains.diffusion.adapter:Diffusion"},
        "network": {
            "classifier": "genunlearn.domains.network.classifier:Classifier",
            "regression": "genunlearn.domains.network.classifier:Regressor",
            "federated": "genunlearn.domains.network.federated.adapter:FederatedClassifier",
        },
        "graph": {"graph": "genunlearn.domains.graph.adapter:GraphModel"},
        "recommender": {"recommender": "genunlearn.domains.recommender.adapter:Recommender"},
    },
    is_global=True,  # a configuration says its domain, and that says the family
)
LABS = Table(
    "lab",
    {
        "lm": {"lm": "genunlearn.lab.lm.build:build", "smollm2": "genunlearn.lab.lm.smollm2:build"},
        "diffusion": {"diffusion": "genunlearn.lab.diffusion.build:build"},
        "network": {
            "digits": "genunlearn.lab.network.digits:build",
            "digits_coarse": "genunlearn.lab.network.digits:build_coarse",
            "diabetes": "genunlearn.lab.network.regression:build_diabetes",
            "tumours": "genunlearn.lab.network.regression:build_tumours",
            "text": "genunlearn.lab.network.text:build",
            "federated": "genunlearn.lab.network.federated:build",
        },
        "graph": {"cora": "genunlearn.lab.graph.cora:build"},
        "recommender": {
            "recommender": "genunlearn.lab.recommender.build:build",
            "recommender_bpr": "genunlearn.lab.recommender.build:build_bpr",
            "recommender_vbpr": "genunlearn.lab.recommender.build:build_vbpr",
            "recommender_knn_fusion": "genunlearn.lab.recommender.build:build_knn_fusion",
            "recommender_sharded": "genunlearn.lab.recommender.build:build_sharded",
        },
    },
    is_global=True,  # ``lab:NAME`` says no family
)
SUITES = Table(
    "suite",
    {
        "lm": {
            "facts": "genunlearn.evaluation.lm.metrics:FACTS",
            "facts-quick": "genunlearn.evaluation.lm.metrics:FACTS_QUICK",
            "facts-full": "genunlearn.evaluation.lm.depth:FACTS_FULL",
            "tofu": "genunlearn.evaluation.lm.benchmark_metrics:TOFU",
            "tofu-full": "genunlearn.evaluation.lm.depth:TOFU_FULL",
            "wpu": "genunlearn.evaluation.lm.criteria:WPU",
            "muse": "genunlearn.evaluation.lm.text_membership:MUSE",
        },
        "diffusion": {
            "images": "genunlearn.evaluation.diffusion.metrics:IMAGES",
            "images-quick": "genunlearn.evaluation.diffusion.metrics:IMAGES_QUICK",
            "concealment": "genunlearn.evaluation.diffusion.concealment:CONCEALMENT",
            "concealment-published": "genunlearn.evaluation.diffusion.concealment:CONCEALMENT_PUBLISHED",
            "leak": "genunlearn.evaluation.diffusion.concealment:LEAK",
        },
        "network": {
            "classifier": "genunlearn.evaluation.network.metrics:CLASSIFIER_SUITE",
            "regression": "genunlearn.evaluation.network.metrics:REGRESSION_SUITE",
        },
        "graph": {
            "nodes": "genunlearn.evaluation.graph.metrics:NODE_SUITE",
            "links": "genunlearn.evaluation.graph.metrics:LINK_SUITE",
        },
        "recommender": {"ranking": "genunlearn.evaluation.recommender.metrics:RANKING"},
    },
)
BENCHMARKS = Table(
    "benchmark",
    {
        "lm": {
            "tofu": "genunlearn.data.lm.benchmarks.tofu:TOFU",
            "knowundo": "genunlearn.data.lm.benchmarks.knowundo:KnowUnDo",
            "wpu": "genunlearn.data.lm.benchmarks.wpu:WPU",
            "muse": "genunlearn.data.lm.benchmarks.muse:MUSE",
            "lume": "genunlearn.data.lm.benchmarks.lume:LUME",
            "rwku": "genunlearn.data.lm.benchmarks.rwku:RWKU",
        },
    },
)
CONFIGS = Table(
    "configuration",
    {
        "lm": {
            "unlearn": "genunlearn.config.lm:LMConfig",
            "audit": "genunlearn.config.lm:LMAuditConfig",
        },
        "diffusion": {
            "unlearn": "genunlearn.config.diffusion:DiffusionConfig",
            "audit": "genunlearn.config.diffusion:DiffusionAuditConfig",
        },
        "network": {
            "unlearn": "genunlearn.config.network:NetworkConfig",
            "value": "genunlearn.config.network:NetworkValueConfig",
            "continual": "genunlearn.config.continual:ContinualConfig",
            "federated": "genunlearn.config.network:FederatedConfig",
            "search": "genunlearn.config.search:NetworkSearchConfig",
            "synthetic": "genunlearn.config.network:NetworkSyntheticConfig",
        },
        "graph": {"unlearn": "genunlearn.config.graph:GraphConfig"},
        "recommender": {"unlearn": "genunlearn.config.recommender:RecommenderConfig"},
    },
)
FAMILIES = Table(
    "family",
    {
        "": {
            "lm": "genunlearn.runs.lm.family:LMFamily",
            "diffusion": "genunlearn.runs.diffusion.family:DiffusionFamily",
            "network": "genunlearn.runs.network.family:NetworkFamily",
            "graph": "genunlearn.runs.graph.family:GraphFamily",
            "federated": "genunlearn.runs.network.federated.family:FederatedFamily",
            "recommender": "genunlearn.runs.recommender.family:RecommenderFamily",
        },
    },
)
AUDITS = Table(
    "audit",
    {
        "": {
            "lm": "genunlearn.runs.lm.audit:LMAudit",
            "diffusion": "genunlearn.runs.diffusion.audit:DiffusionAudit",
        },
    },
)
RUNS = Table(
    "run",
    {
        "": {
            "unlearn": "genunlearn.runs.run:Run",
            "audit": "genunlearn.runs.audit.run:AuditRun",
            "value": "genunlearn.runs.network.value_run:ValueRun",
            "continual": "genunlearn.runs.network.continual.run:ContinualRun",
            "federated": "genunlearn.runs.run:Run",
            "search": "genunlearn.runs.network.search_run:SearchRun",
            "synthetic": "genunlearn.runs.network.synthetic_run:SyntheticRun",
        },
    },
)
REPORTS = Table(
    "report",
    {
        "lm": {
            "unlearn": "genunlearn.reports.lm.reporter:FACTS",
            "audit": "genunlearn.reports.audit.report:AUDITS",
        },
        "diffusion": {
            "unlearn": "genunlearn.reports.diffusion.report:CONCEPTS",
            "audit": "genunlearn.reports.audit.report:AUDITS",
        },
        "network": {
            "unlearn": "genunlearn.reports.network.report:ITEMS",
            "value": "genunlearn.reports.network.value:VALUES",
            "continual": "genunlearn.reports.network.continual:STREAMS",
            "federated": "genunlearn.reports.network.federated:FEDERATIONS",
            "search": "genunlearn.reports.network.search:SEARCHES",
            "synthetic": "genunlearn.reports.network.synthetic:SYNTHETIC",
        },
        "graph": {"unlearn": "genunlearn.reports.graph.report:GRAPHS"},
        "recommender": {"unlearn": "genunlearn.reports.recommender.report:RANKINGS"},
    },
)


def family_of(domain: str) -> str:
    """The family that a domain belongs to, which has one run, one configuration and one report.

    Raises:
        NameNotFound: There is no such domain.
    """
    line = DOMAINS.line(domain)
    return line.family or line.name


def owners() -> tuple[str, ...]:
    """The distributions that have brought something that a run may use, sorted."""
    models = (FAMILIES, CONFIGS, DOMAINS, LABS, METHODS, VALUATIONS, LEARNERS, GENERATORS)
    tables = (*models, METRICS, SUITES, BENCHMARKS, ATTACKS, AUDITS, REPORTS)
    return tuple(sorted({line.owner for table in tables for line in table.lines()}))
