"""Reading files that nobody vouches for: what they are, and what lies in them; nothing that they bring is run."""
