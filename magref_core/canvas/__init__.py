"""From pictures to the canvas, its masks, the guidance channels and what CLIP sees."""
