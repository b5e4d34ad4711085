"""The MCP server: tools over the HTTP API, for any client that speaks MCP."""
