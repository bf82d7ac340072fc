"""The options of the evaluations of retrieval and of chat."""

from pathlib import Path

from omegaconf import DictConfig

from lightning_inr.configuration.common import feature_cache, labels, listing, provenance, wandb_opener
from lightning_inr.configuration.queries import chat_backend_options, clip_finder, index_options
from lightning_inr.errors import UserError
from lightning_inr.pipelines.chat_evaluation import ChatEvaluationOptions
from lightning_inr.pipelines.retrieval_evaluation import RetrievalOptions
from lightning_inr.retrieval.protocols import ProtocolOptions


def retrieval_options(cfg: DictConfig) -> RetrievalOptions:
    """The options of a retrieval evaluation."""
    name = Path(cfg.collection).name if cfg.collection else listing(cfg)._target_.rpartition("list_")[2]
    return RetrievalOptions(
        find_clip=clip_finder(cfg),
        cache=feature_cache(cfg),
        protocols=list(cfg.retrieval.protocols),
        protocol_options=ProtocolOptions(**{name: cfg.retrieval[name] for name in ProtocolOptions._fields}),
        frame_stride=cfg.retrieval.frame_stride,
        index=index_options(cfg),
        neighbours=cfg.retrieval.neighbours,
        about={**labels(cfg), "video": name, **provenance(cfg).record("file"), "seed": cfg.seed},
        open_wandb=wandb_opener(cfg.logger),
    )


def chat_evaluation_options(cfg: DictConfig) -> ChatEvaluationOptions:
    """The options of a chat evaluation."""
    answers = cfg.answers
    ask = answers.ask
    if cfg.questions is None and (not ask or isinstance(ask, str) or not all(str(text).strip() for text in ask)):
        raise UserError(f"answers.ask={ask}: list some questions, none of them empty, or choose questions=file")
    return ChatEvaluationOptions(
        chat_backend_options(cfg),
        max_new_tokens=answers.max_new_tokens,
        shown=answers.shown,
        identical=answers.identical,
        open_wandb=wandb_opener(cfg.logger),
    )
