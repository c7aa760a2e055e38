"""The institution's side of a chart: sealing what comes in, releasing it to readers, opening what was released."""
