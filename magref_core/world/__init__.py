"""A drawn world: puppets with an identity, places, motions, and the films, captions and portraits of them."""
