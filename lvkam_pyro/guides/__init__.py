"""Programs that propose latents, and the particles they propose."""
