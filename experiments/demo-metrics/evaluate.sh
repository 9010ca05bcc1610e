#!/bin/sh
# Trains the demonstration's arms in two precisions and asks the base models, two clients' local adapters and the federated ones
# by the metrics that a model of 512 tokens of context can take.
# usage: experiments/demo-metrics/evaluate.sh RUN_FOLDER QUESTIONS_FOLDER
set -e
run=$1
questions=$2
here=$(dirname "$0")
fedllm="npx fedllm-native"
[ -e "$run/config.resolved.yaml" ] || $fedllm run "$here/../demo/experiment.yaml" --set 'arms.precisions=["F16","Q4_K_M"]' --set evaluation.every=20 --out "$run"
node "$here/make-questions.mjs" "$questions"
ask() {
  $fedllm eval "$run" --metrics heldout --metric-option heldout.set=overall "$@"
  $fedllm eval "$run" --metrics reply,mmlu,gsm8k --limit 40 --context 512 "$@" \
    --metric-option reply.set=overall --metric-option reply.maxNewTokens=32 \
    --questions "mmlu=$questions/mmlu" --metric-option mmlu.scoring=logprob --metric-option mmlu.shots=0 --metric-option mmlu.maxLength=512 \
    --questions "gsm8k=$questions/gsm8k.jsonl" --metric-option gsm8k.shots=0 --metric-option gsm8k.maxNewTokens=16 --metric-option gsm8k.maxLength=512
}
for precision in f16 q4_k_m; do
  ask --base --arm $precision-fedavg
  ask --arm $precision-local --client en-05 --client de-01
done
$fedllm eval show "$run" --markdown
