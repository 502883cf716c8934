DROP TABLE spend_postings;
DROP TABLE network_stats;
DROP TABLE campaign_networks;
DROP TABLE campaigns;
