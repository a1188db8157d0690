"""Who is who: names bound to words of the prompt and to regions of the canvas, and what that steers."""
