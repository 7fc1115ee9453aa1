"""Models behind servers: how they are asked, held to forms, and scored by likeliest tokens."""
