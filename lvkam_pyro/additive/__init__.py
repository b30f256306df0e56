"""Programs that are sums of functions of one latent: form, tables, look-ahead."""
