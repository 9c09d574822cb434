"""What the charms share: relation interfaces, services, JVM distributions, Hadoop site files."""
