"""nanoGCG in an environment of its own: reads jobs as JSON lines, writes results as JSON lines.

Started by `gcg.py` with that environment's Python; imports nothing of geoaudit. Token ids come and go as they are, so
that both sides can be seen to compute the same loss of the same tokens.
"""

import json
import logging
import os
import sys
import time
import warnings

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever a library prints goes to the error stream


def answer(**said):
    print(json.dumps(said), file=ANSWERS, flush=True)


def main(folder, dtype):
    import nanogcg
    import torch
    import transformers
    from tokenizers import Tokenizer

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    logging.getLogger("nanogcg").setLevel(logging.ERROR)
    model = transformers.LlamaForCausalLM.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).eval()
    model.requires_grad_(False)
    with open(os.path.join(folder, "chat_template.jinja"), encoding="utf-8") as file:
        template = file.read()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(os.path.join(folder, "tokenizer.json")),
        chat_template=template,
        pad_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
    )
    # no bos_token: nanoGCG would take the first marker of SmolLM2's template for one and leave it out
    answer(versions=[nanogcg.__name__, transformers.__version__, torch.__version__], threads=torch.get_num_threads())
    for line in sys.stdin:
        job = json.loads(line)
        if "ids" in job:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([job["ids"]])).logits[0].float()
            wanted = torch.tensor(job["ids"][-job["target"] :])
            answer(loss=torch.nn.functional.cross_entropy(logits[-job["target"] - 1 : -1], wanted).item())
            continue
        config = nanogcg.GCGConfig(
            num_steps=job["steps"],
            optim_str_init=job["initial"],
            search_width=job["width"],
            topk=job["topk"],
            seed=job["seed"],
            verbosity="ERROR",
        )
        started, cpu = time.perf_counter(), time.process_time()
        made = nanogcg.run(model, tokenizer, job["request"], job["target"], config)
        answer(
            seconds=time.perf_counter() - started,
            cpu=time.process_time() - cpu,
            losses=made.losses,
            strings=made.strings,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
