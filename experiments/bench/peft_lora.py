#!/usr/bin/env python3
"""LoRA steps with PEFT and transformers in bf16 with gradient checkpointing, on random weights of a llama shape.

usage: peft_lora.py DIM LAYERS HEADS KV_HEADS FFN VOCABULARY SEQUENCE
Prints tokens/s of the best of six steps and GFLOP/s counted as 4N, in the form that gpu-check.sh puts into its table.
"""
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

dim, layers, heads, kv_heads, ffn, vocabulary, sequence = (int(x) for x in sys.argv[1:8])
config = LlamaConfig(hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
                     intermediate_size=ffn, vocab_size=vocabulary, max_position_embeddings=max(sequence, 2048))
torch.set_default_dtype(torch.bfloat16)
with torch.device("cuda"):
    model = LlamaForCausalLM(config)
n_matmul = sum(p.numel() for p in model.parameters()) - vocabulary * dim  # without the embedding
model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
model.enable_input_require_grads()
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
for name, parameter in model.named_parameters():
    if parameter.requires_grad:
        parameter.data = parameter.data.float()  # the adapter in F32, as in the core
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
tokens = torch.randint(0, vocabulary, (1, sequence), device="cuda")
best = float("inf")
for _ in range(6):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    torch.cuda.synchronize()
    best = min(best, time.perf_counter() - begin)
print(f"{sequence / best:.1f} | {4 * n_matmul * sequence / best / 1e9:.1f} | {torch.cuda.max_memory_reserved() / 1e9:.2f}")
