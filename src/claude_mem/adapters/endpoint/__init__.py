"""Embeddings by any endpoint that speaks OpenAI's protocol: OpenAI, Azure, Ollama, vLLM, Text Embeddings Inference."""
