"""What runs carry out, by name and family: methods, valuations, learners of tasks, generators of rows."""

from __future__ import annotations

from genunlearn.registry.table import Table

METHODS = Table(
    "method",
    {
        "": {
            "grad_ascent": "genunlearn.methods.general.grad_ascent:GradAscent",
            "grad_diff": "genunlearn.methods.general.grad_diff:GradDiff",
            "fine_tune": "genunlearn.methods.general.fine_tune:FineTune",
            "fine_tune_l2": "genunlearn.methods.general.fine_tune_l2:FineTuneL2",
            "neg_grad_plus": "genunlearn.methods.general.neg_grad_plus:NegGradPlus",
            "random_labels": "genunlearn.methods.general.random_labels:RandomLabels",
            "salun_labels": "genunlearn.methods.general.salun:SalUnLabels",
            "ssd": "genunlearn.methods.general.ssd:SSD",
            "delete": "genunlearn.methods.general.delete:Delete",
            "retrain": "genunlearn.methods.general.retrain:Retrain",
        },
        "lm": {
            "unstar": "genunlearn.methods.lm.unstar:UnSTAR",
            "npo": "genunlearn.methods.lm.npo:NPO",
            "idk_dpo": "genunlearn.methods.lm.idk_dpo:IdkDPO",
            "sim_npo": "genunlearn.methods.lm.sim_npo:SimNPO",
            "undial": "genunlearn.methods.lm.undial:UNDIAL",
            "wga": "genunlearn.methods.lm.wga:WGA",
            "sat_imp": "genunlearn.methods.lm.sat_imp:SatImp",
            "ceu": "genunlearn.methods.lm.ceu:CEU",
            "jens_un": "genunlearn.methods.lm.jens_un:JensUn",
            "inverted_hinge": "genunlearn.methods.lm.inverted_hinge:InvertedHinge",
            "flat": "genunlearn.methods.lm.flat:FLAT",
            "rmu": "genunlearn.methods.lm.rmu:RMU",
            "whp": "genunlearn.methods.lm.whp:WHP",
            "rwhp": "genunlearn.methods.lm.rwhp:RWHP",
            "elm": "genunlearn.methods.lm.elm:ELM",
            "alt_po": "genunlearn.methods.lm.alt_po:AltPO",
            "pdu": "genunlearn.methods.lm.pdu:PDU",
            "task_vector": "genunlearn.methods.lm.task_vector:TaskVector",
            "sam_npo": "genunlearn.methods.lm.sam_npo:SamNPO",
            "lat": "genunlearn.methods.lm.lat:LAT",
            "lunar": "genunlearn.methods.lm.lunar:Lunar",
            "tuned_lens": "genunlearn.methods.lm.tuned_lens:TunedLens",
            "in_context": "genunlearn.methods.lm.in_context:InContext",
            "uld": "genunlearn.methods.lm.uld:ULD",
            "rome": "genunlearn.methods.lm.rome:ROME",
            "memit": "genunlearn.methods.lm.memit:MEMIT",
            "alpha_edit": "genunlearn.methods.lm.alpha_edit:AlphaEdit",
        },
        "diffusion": {
            "uce": "genunlearn.methods.diffusion.uce:UCE",
            "time": "genunlearn.methods.diffusion.time_edit:TIME",
            "rece": "genunlearn.methods.diffusion.rece:RECE",
            "speed": "genunlearn.methods.diffusion.speed:SPEED",
            "mace": "genunlearn.methods.diffusion.mace:MACE",
            "esd": "genunlearn.methods.diffusion.esd:ESD",
            "sdd": "genunlearn.methods.diffusion.sdd:SDD",
            "concept_ablation": "genunlearn.methods.diffusion.concept_ablation:ConceptAblation",
            "forget_me_not": "genunlearn.methods.diffusion.forget_me_not:ForgetMeNot",
            "salun": "genunlearn.methods.diffusion.salun:SalUn",
            "erase_diff": "genunlearn.methods.diffusion.erase_diff:EraseDiff",
            "selective_amnesia": "genunlearn.methods.diffusion.selective_amnesia:SelectiveAmnesia",
            "spm": "genunlearn.methods.diffusion.spm:SPM",
            "adv_unlearn": "genunlearn.methods.diffusion.adv_unlearn:AdvUnlearn",
            "receler": "genunlearn.methods.diffusion.receler:Receler",
            "sld": "genunlearn.methods.diffusion.sld:SLD",
            "negative_prompt": "genunlearn.methods.diffusion.negative_prompt:NegativePrompt",
        },
        "network": {
            "amnesiac": "genunlearn.methods.network.amnesiac:Amnesiac",
            "bad_teaching": "genunlearn.methods.network.bad_teaching:BadTeaching",
            "blindspot": "genunlearn.methods.network.blindspot:Blindspot",
            "emmn": "genunlearn.methods.network.emmn:EMMN",
            "gaussian_amnesiac": "genunlearn.methods.network.gaussian_amnesiac:GaussianAmnesiac",
            "gkt": "genunlearn.methods.network.gkt:GKT",
            "scrub": "genunlearn.methods.network.scrub:Scrub",
            "unsir": "genunlearn.methods.network.unsir:Unsir",
            "conda": "genunlearn.methods.network.conda:ConDa",
            "pga": "genunlearn.methods.network.pga:PGA",
            "fed_eraser": "genunlearn.methods.network.fed_eraser:FedEraser",
            "fed_retrain": "genunlearn.methods.network.fed_retrain:FedRetrain",
        },
        "graph": {
            "d2dgn": "genunlearn.methods.graph.d2dgn:D2DGN",
            "gnndelete": "genunlearn.methods.graph.gnndelete:GNNDelete",
        },
        "recommender": {
            "mmrecun": "genunlearn.methods.recommender.mmrecun:MMRecUN",
            "amun": "genunlearn.methods.recommender.amun:AmUn",
            "rec_eraser": "genunlearn.methods.recommender.rec_eraser:RecEraser",
        },
    },
)
VALUATIONS = Table(
    "valuation",
    {
        "network": {
            "ecoval_style": "genunlearn.valuation.ecoval_style:EcoValStyle",
            "leave_one_out": "genunlearn.valuation.leave_one_out:LeaveOneOut",
            "tmc_shapley": "genunlearn.valuation.tmc_shapley:TMCShapley",
            "beta_shapley": "genunlearn.valuation.beta_shapley:BetaShapley",
            "banzhaf": "genunlearn.valuation.banzhaf:Banzhaf",
            "knn_shapley": "genunlearn.valuation.knn_shapley:KNNShapley",
            "data_oob": "genunlearn.valuation.data_oob:DataOOB",
            "lava": "genunlearn.valuation.lava:LAVA",
        },
    },
)
LEARNERS = Table(
    "learner",
    {
        "network": {
            "uniclun": "genunlearn.methods.network.continual.uniclun:UniCLUN",
            "er": "genunlearn.methods.network.continual.er:ER",
            "der": "genunlearn.methods.network.continual.der:DER",
            "ewc": "genunlearn.methods.network.continual.ewc:EWC",
        },
    },
)
GENERATORS = Table(
    "generator",
    {
        "network": {
            "bootstrap": "genunlearn.synthesis.bootstrap:Bootstrap",
            "independent": "genunlearn.synthesis.independent:Independent",
            "gaussian_copula": "genunlearn.synthesis.gaussian_copula:GaussianCopula",
            "vae": "genunlearn.synthesis.vae:VAE",
            "given": "genunlearn.synthesis.given:Given",
        },
    },
)
