"""What the settings page says of reranking."""

RERANK_SETTINGS = {
    "rerank": "What reads the first results once more, together with the question, to order them: `off` nothing, `local` a cross-encoder"
    " in `rerank_folder`, `endpoint` one elsewhere. One that fails or is late leaves the order as it was.",
    "rerank_folder": "A folder with a cross-encoder: `model.onnx` and `tokenizer.json`. None is shipped.",
    "rerank_url": "A reranking endpoint, up to `/v1`, or the whole address of `/rerank`: as Cohere and Jina answer it, or Text Embeddings Inference.",
    "rerank_model": "The model's name at the endpoint; empty where it has but one.",
    "rerank_key": "The endpoint's key. `CLAUDE_MEM_RERANK_KEY_FILE` names a file that holds it.",
    "rerank_deadline_ms": "How many milliseconds a search waits for it.",
}
