"""How quantized weights lie in the file; a form is one file and one line in registries.STORAGES. No torch here."""
