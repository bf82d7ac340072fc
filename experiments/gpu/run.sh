#!/usr/bin/env bash
# The figures that need a GPU, in about half an hour of one; killed, the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${1:-runs/gpu}

fit() { # name, options …: one fit, unless it has ended
    [ -f "$runs/$1/result.json" ] || python -m lightning_inr.run run_dir="$runs/$1" device=cuda progress_bar=false "${@:2}"
}

fit bunny_720p dataset.height=720 model=latent_inr_grids_720p rate_weight=5.5e-3 effort_steps=null max_seconds=600
fit interpolation_720p dataset.height=720 experiment=interpolation model=latent_inr_grids_720p data.batch_size=4 max_seconds=240
fit bunny_1080p dataset.height=1080 effort=fast max_seconds=120 # for its decoding speed
python experiments/gpu/decoding.py "$runs/bunny_1080p/video.linr" | tee "$runs/decoding.json"
python experiments/gpu/steps.py --kernels 20 dataset.height=720 | tee "$runs/steps.txt"
for model in latent_inr_grids nerv e_nerv hnerv hnerv_boost; do
    for rate_weight in 1e-4 1e-3; do
        fit "family_720p/$model-$rate_weight" dataset.height=720 model=$model callbacks=entropy_constrained \
            rate_weight=$rate_weight effort_steps=null max_seconds=60
    done
done
python -m lightning_inr.run task=report runs="$runs/family_720p"
