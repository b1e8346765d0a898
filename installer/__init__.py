"""Sets the host up, registers it with browsers, checks it and takes it away again; standard library only."""
