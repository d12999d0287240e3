"""The mitmproxy side: it translates and decides nothing."""
